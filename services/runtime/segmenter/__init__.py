"""The segmenter port and its adapters."""
