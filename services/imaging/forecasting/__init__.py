"""What the slices so far say about those to come."""
