"""Checks of official MLS test vectors, one module per kind of file."""
