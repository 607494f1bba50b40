"""The graph ops, one family a file."""
