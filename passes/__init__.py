"""How a program changes: one pass a file."""
