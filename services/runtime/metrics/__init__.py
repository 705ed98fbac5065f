"""The metrics port and its adapters."""
