"""The whole pipeline in one process, on the embedded adapters."""
