"""Surrogates."""
