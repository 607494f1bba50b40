"""Templates: how kernels of a kind are written as loops."""
