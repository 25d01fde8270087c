"""One module for each subcommand; its `command` is what click runs."""
