"""Whole ops found again in what exporters decomposed them into: one op a file."""
