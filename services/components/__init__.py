"""Selects, separates and measures the objects that postprocess labelled; it never labels again."""
