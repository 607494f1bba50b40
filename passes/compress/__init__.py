"""Lossy passes: quantization, sparsity and low rank, as a recipe asks for them."""
