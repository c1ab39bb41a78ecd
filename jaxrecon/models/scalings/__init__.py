"""Scalings."""
