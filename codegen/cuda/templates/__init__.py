"""The templates: each writes the Triton function of one kind of kernel."""
