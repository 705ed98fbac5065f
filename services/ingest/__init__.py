"""Turns files in a folder into slices on the bus: what is complete, what is missing, what cannot be read."""
