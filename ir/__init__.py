"""What a program is: dims, types, ops by family, structure, text and the reference interpreter."""
