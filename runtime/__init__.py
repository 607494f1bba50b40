"""How a program runs: loads an artifact and calls it."""
