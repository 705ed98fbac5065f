"""What the services say to each other: messages, their encoding, topics and artefact keys."""
