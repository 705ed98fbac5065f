"""Repairs of single slices: what the microscope put into an image is taken out of what networks see of it."""
