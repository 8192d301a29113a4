"""Trained nets: one value, its files, and importers of other programs' files."""
