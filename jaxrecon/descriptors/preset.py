"""Presets: what the registry knows of a fingerprint that has a name."""

import inspect
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

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The arguments of :attr:`descriptor` by name."""
        return inspect.signature(self.descriptor).parameters

    @property
    def needs_elements(self) -> bool:
        """Whether elements have to be named: the numbers depend on which may be there."""
        return self.parameters["elements"].default is inspect.Parameter.empty
