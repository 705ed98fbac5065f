"""Finds nuclei in slices, follows them through z, cuts them out."""
