"""Inverse design: structures with a wanted value of a property."""
