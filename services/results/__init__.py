"""Assembles the folder that a run leaves behind from the messages on the bus and the artefacts in the store."""
