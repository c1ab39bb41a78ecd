"""Registries of generators, surrogates and scalings: a new one is one line here.

An entry is imported when it is looked up. The names alone import nothing, so settings are validated
and ``--help`` is printed without JAX. A class outside the package needs no line: it is found under
the name ``module:class``.
"""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from jaxrecon.models.generators.base import Generator
    from jaxrecon.models.local.base import LocalModel
    from jaxrecon.models.scalings.base import Scaling
    from jaxrecon.models.surrogates.base import Surrogate

Entry = TypeVar("Entry", covariant=True)

OWN = re.compile(r"\w+(\.\w+)*:\w+")
"""Name of a class of the user's own."""


class Registry(Mapping[str, Entry]):
    """Classes by name, each imported when it is looked up.

    The name of a class of the user's own is ``module:class``. Such a name is not listed, but it can
    be looked up.

    Args:
        homes: where each registered class is defined, as ``module:class`` by name.

    >>> decoders = Registry({"json": "json:JSONDecoder"})
    >>> list(decoders), decoders["json"].__name__
    (['json'], 'JSONDecoder')
    >>> decoders["json:JSONEncoder"].__name__
    'JSONEncoder'
    """

    def __init__(self, homes: Mapping[str, str]) -> None:
        self._homes = dict(homes)

    def __getitem__(self, name: str) -> Entry:
        if name not in self:
            raise KeyError(name)
        module, _, attribute = self._homes.get(name, name).partition(":")
        try:
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"expected a class in a module that can be imported, got {name} ({error})"
            ) from error

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._homes or OWN.fullmatch(name) is not None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)


GENERATORS: "Registry[type[Generator]]" = Registry(
    {
        "autoencoder": "jaxrecon.models.generators.autoencoder:AutoencoderGenerator",
    }
)
"""Generators of fingerprints, subclasses of :class:`~jaxrecon.models.generators.base.Generator`."""

SURROGATES: "Registry[type[Surrogate]]" = Registry(
    {
        "network": "jaxrecon.models.surrogates.ensemble:Ensemble",
        "gaussian_process": "jaxrecon.models.surrogates.gaussian_process:GaussianProcess",
        "local_gpr": "jaxrecon.models.surrogates.local_process:LocalProcess",
        "local_network": "jaxrecon.models.surrogates.local_network:LocalNetwork",
    }
)
"""Surrogates of the property, subclasses of :class:`~jaxrecon.models.surrogates.base.Surrogate`."""

LOCAL_MODELS: "Registry[type[LocalModel]]" = Registry(
    {
        "linear": "jaxrecon.models.local.linear:LinearModel",
        "kernel": "jaxrecon.models.local.sparse_kernel:SparseKernel",
        "network": "jaxrecon.models.local.network:NetworkModel",
        "deep_kernel": "jaxrecon.models.local.deep_kernel:DeepKernel",
    }
)
"""Models of local energies, subclasses of :class:`~jaxrecon.models.local.base.LocalModel`."""

SCALINGS: "Registry[type[Scaling]]" = Registry(
    {
        "minmax": "jaxrecon.models.scalings.minmax:MinMax",
        "principal": "jaxrecon.models.scalings.principal_axes:PrincipalAxes",
    }
)
"""Scalings of fingerprints, subclasses of :class:`~jaxrecon.models.scalings.base.Scaling`."""
