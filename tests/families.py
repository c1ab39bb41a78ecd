"""Examples of every family of descriptors, and what tests compute of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms

from jaxrecon import ACSF, SOAP, Custom, Fingerprint, Structure, batch, from_ase
from jaxrecon.descriptors.base import Descriptor
from jaxrecon.descriptors.soap.inner import InnerSOAP
from jaxrecon.descriptors.universal.universal import Universal

R_CUT = 4.5
ELEMENTS = ("H", "O", "Pt")
Make = Callable[..., Descriptor]


def signed_shells(environment: Any) -> jax.Array:
    """Sums of waves, which may be negative, weighted by atomic numbers; and squares of dipoles."""
    kappa = jnp.asarray((0.7, 1.4, 2.1, 2.8), environment.r.dtype)[:, None]
    weights = environment.cutoff * environment.channel[:, 0] / 10.0
    shells = jnp.cos(kappa * environment.r[None, :]) * weights[None, :]
    dipoles = jnp.sum(shells[:, :, None] * environment.direction[None], axis=1)
    return jnp.concatenate([shells.sum(axis=1), jnp.sum(dipoles**2, axis=1)])


def acsf(elements: Any = ELEMENTS, **changes: Any) -> ACSF:
    settings = {
        "g2_eta": (0.5, 1.0),
        "g2_r_s": (1.0, 2.0, 3.0),
        "g5_zeta": (1, 4),
        "g5_eta": (0.05,),
    }
    return ACSF(elements, R_CUT, **{**settings, **changes})


def soap(elements: Any = ELEMENTS, **changes: Any) -> SOAP:
    return SOAP(elements, R_CUT, **{"n_max": 2, "l_max": 2, "sigma": 0.8, **changes})


def soap_inner(elements: Any = ELEMENTS, **changes: Any) -> InnerSOAP:
    return InnerSOAP(elements, R_CUT, **{"n_max": 2, "l_max": 2, "sigma": 0.8, **changes})


def universal(elements: Any = ELEMENTS, **changes: Any) -> Universal:
    own = {"own_r_s": (2.5,), "own_widths": (0.05, 0.2), "own_l_max": 2}
    return Universal(elements, R_CUT, **{"r_s": (1.0, 2.0, 3.0), "l_max": 2, **own, **changes})


GLOBAL = ("soap_inner",)
"""Families whose row belongs to the whole structure: it changes with the environments of all."""

EXAMPLES: dict[str, dict[str, Make]] = {
    "acsf": {
        "channels": acsf,
        "all kinds": lambda elements=ELEMENTS: acsf(
            elements, g1=True, g3_kappa=(0.7,), g4_zeta=(1,), g4_eta=(0.02,), cutoff="tanh3"
        ),
        "weighted": lambda elements=ELEMENTS: acsf(elements, weighted=True),
    },
    "soap": {
        "all pairs": soap,
        "no elements, normalised": lambda elements=ELEMENTS: soap(
            elements,
            compression="mu2",
            weights={"H": (1, 0.5), "C": (2, 0), "O": (3, -1), "Pt": (4, 2)},
            normalize=True,
        ),
        "one with all": lambda elements=ELEMENTS: soap(
            elements, compression="mu1nu1", convention="featomic", basis="polynomial"
        ),
    },
    "soap_inner": {
        "all pairs": soap_inner,
        "one with all, normalised": lambda elements=ELEMENTS: soap_inner(
            elements, compression="mu1nu1", convention="featomic", normalize=True
        ),
    },
    "universal": {
        "centred": universal,
        "plain, no moments": lambda elements=ELEMENTS: universal(
            elements, centered=False, moments=0, properties=("radius",), widths=(0.05,)
        ),
    },
    "custom": {"signed": lambda elements=ELEMENTS: Custom(signed_shells, elements, R_CUT)},
}


def rows_of(descriptor: Descriptor, atoms: Atoms, size: int | None = None) -> np.ndarray:
    """The rows in float64 of all atoms, and of padding up to a size."""
    with jax.enable_x64(True):
        if atoms.pbc.any():
            several = batch([atoms], Fingerprint(descriptor), size=size)
            structure = jax.tree.map(lambda leaf: leaf[0], several)
        else:
            structure = from_ase(atoms, size=size)
        return np.asarray(compiled_rows(descriptor, structure))


@partial(jax.jit, static_argnums=0)
def compiled_rows(descriptor: Descriptor, structure: Structure) -> jax.Array:
    return descriptor(Fingerprint(descriptor).view(structure).neighbors)


def close(found: np.ndarray, expected: np.ndarray, relative: float = 1e-9) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=relative * np.abs(expected).max())
