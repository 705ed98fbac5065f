"""Turns the label planes of a nucleus into one clean, labelled volume, while the planes arrive."""
