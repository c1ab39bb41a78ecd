"""Registries of descriptor families and of presets; a new family or preset is one line here."""

from collections.abc import Mapping
from typing import Any

from jaxrecon.descriptors.acsf.acsf import ACSF
from jaxrecon.descriptors.acsf.presets import PRESETS as ACSF_PRESETS
from jaxrecon.descriptors.base import Descriptor
from jaxrecon.descriptors.custom import Custom
from jaxrecon.descriptors.preset import Preset
from jaxrecon.descriptors.soap.inner import InnerSOAP
from jaxrecon.descriptors.soap.presets import PRESETS as SOAP_PRESETS
from jaxrecon.descriptors.soap.soap import SOAP
from jaxrecon.descriptors.universal.presets import PRESETS as UNIVERSAL_PRESETS
from jaxrecon.descriptors.universal.universal import Universal

DESCRIPTORS: dict[str, type[Descriptor]] = {
    "acsf": ACSF,
    "soap": SOAP,
    "soap_inner": InnerSOAP,
    "universal": Universal,
    "custom": Custom,
}
"""The descriptor families by the names that stand for them in files."""

PRESETS: dict[str, Preset] = {
    **ACSF_PRESETS,
    **SOAP_PRESETS,
    **UNIVERSAL_PRESETS,
}
"""The presets by name: complete fingerprints, each for any elements."""


def needs_elements(preset: str) -> bool:
    """Whether a preset has to be told the elements; unknown names are refused where one is made.

    >>> [needs_elements(name) for name in ("soap", "universal")]
    [True, False]
    """
    return preset not in PRESETS or PRESETS[preset].needs_elements


def descriptor_of(settings: Mapping[str, Any]) -> Descriptor:
    """Make the descriptor that :meth:`Descriptor.to_dict` has described.

    Args:
        settings: the settings by name, and the name of the family under ``"family"``.

    Returns:
        The descriptor.

    Raises:
        ValueError: if the family or a setting is unknown, or a value is out of range.

    >>> descriptor = ACSF(("H", "O"), r_cut=5.0)
    >>> descriptor_of(descriptor.to_dict()) == descriptor
    True
    """
    own = dict(settings)
    family = own.pop("family", None)
    if family not in DESCRIPTORS:
        raise ValueError(f"expected a descriptor family among {tuple(DESCRIPTORS)}, got {family!r}")
    return DESCRIPTORS[family].from_dict(own)
