"""Nets from other programs' files, one module for each kind; their packages load when needed."""
