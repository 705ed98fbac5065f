"""The command line: `fibsem-nuclei`."""

from services.cli.app import main

__all__ = ["main"]
