"""One view for each path."""
