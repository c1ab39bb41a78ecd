"""The inverse: from a fingerprint to structures."""
