"""The servers that stand beside ours; each one's own program imports nothing of this project."""
