"""The command line: ``mlc``."""
