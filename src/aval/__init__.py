"""Aval puts a second factor in front of money and settles each approved transfer exactly once."""

__version__ = "0.1.0"
