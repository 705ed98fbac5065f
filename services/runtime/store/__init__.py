"""The artefact store port and its adapters."""
