"""How a program leaves: one folder a target."""
