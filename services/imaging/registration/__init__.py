"""Registration: where slices lie on one another, from features to places that follow a whole run."""
