"""Mosaics: one slice imaged as several tiles that overlap, joined into one image."""
