"""A deployed system seen from outside: set up, asked how it stands, collected from, rebuilt after a loss."""
