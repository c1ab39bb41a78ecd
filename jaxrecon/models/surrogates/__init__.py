"""Surrogates: the property of a fingerprint and the uncertainty of the prediction."""
