"""Segments crops: three networks, fused into one class and one confidence per pixel."""
