"""Trains networks from recipes and publishes them with their cards."""
