"""How a program enters: importers from other formats to the graph level."""
