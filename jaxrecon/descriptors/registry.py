"""Registries of descriptor families and of presets: a new one is one line here."""

from collections.abc import Mapping
from typing import Any

from jaxrecon.descriptors.acsf.acsf import ACSF
from jaxrecon.descriptors.acsf.presets import PRESETS as ACSF_PRESETS
from jaxrecon.descriptors.base import Descriptor, Preset
from jaxrecon.descriptors.custom import Custom

DESCRIPTORS: dict[str, type[Descriptor]] = {
    "acsf": ACSF,
    "custom": Custom,
}
"""The families of descriptors by their names in files."""

PRESETS: dict[str, Preset] = {
    **ACSF_PRESETS,
}
"""Complete fingerprints by name, each for any elements."""


def descriptor_of(settings: Mapping[str, Any]) -> Descriptor:
    """The descriptor with some settings: the inverse of :meth:`Descriptor.to_dict`.

    Args:
        settings: values by name, with the name of the family under ``"family"``.

    Raises:
        ValueError: if the family or a setting is unknown, or a value is out of range.
    """
    own = dict(settings)
    family = own.pop("family", None)
    if family not in DESCRIPTORS:
        raise ValueError(f"expected a descriptor family among {tuple(DESCRIPTORS)}, got {family!r}")
    return DESCRIPTORS[family].from_dict(own)
