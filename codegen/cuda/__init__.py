"""The CUDA target: kernels to Triton source, Triton source to cubins, without a GPU at hand."""
