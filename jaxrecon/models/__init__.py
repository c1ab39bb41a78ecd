"""Models: fingerprints of a property, the property of a fingerprint, and how they are scaled."""
