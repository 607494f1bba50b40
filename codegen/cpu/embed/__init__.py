"""A compiled model as a library for C: one header, and code that asks for libc alone."""
