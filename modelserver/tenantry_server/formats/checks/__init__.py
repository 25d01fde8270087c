"""What an artifact is held against before it is believed, whatever library reads it."""
