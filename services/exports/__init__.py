"""Results of a run in the formats of the tools that biologists use; every format is written block by block."""
