"""Structures for a wanted property."""
