"""Presets: what the registry knows of a fingerprint that has a name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxrecon.descriptors.base import Descriptor


@dataclass(frozen=True)
class Preset:
    """A recipe for a fingerprint of any elements.

    Attributes:
        descriptor: function that makes the descriptor from chemical symbols. Its other arguments
            have defaults, which a user of the preset may change.
        settings: the settings of the fingerprint, besides the descriptor, that differ from the
            defaults of :class:`~jaxrecon.Fingerprint`.
    """

    descriptor: Callable[..., Descriptor]
    settings: Mapping[str, Any] = field(default_factory=dict)
