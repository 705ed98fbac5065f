"""Turns whatever an annotation tool wrote into one canonical annotated data set, each file checked."""
