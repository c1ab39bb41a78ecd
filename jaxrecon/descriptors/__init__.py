"""Descriptors of atomic environments, their pooling, and the fingerprints that these make.

To add a descriptor family, read :class:`jaxrecon.descriptors.base.Descriptor`.
"""
