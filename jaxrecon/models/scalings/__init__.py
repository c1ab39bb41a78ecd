"""Scalings: from fingerprints to numbers of similar size for networks, and back."""
