"""PyTorch modules to the graph level."""
