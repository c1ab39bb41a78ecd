"""Fingerprints that the tests share, and their compiled call."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax

from jaxrecon import ACSF, Fingerprint
from jaxrecon.descriptors.pooling import POOLINGS
from jaxrecon.structures.structure import Structure

FOUR = ("H", "O", "Na", "Pt")


def small(elements: tuple[str, ...] = ("H", "O", "Pt"), **changes: object) -> Fingerprint:
    """A small fingerprint, with changed settings of its own or of its descriptor."""
    names = ACSF.__dataclass_fields__
    own = {key: changes.pop(key) for key in list(changes) if key in names}
    parameters = {
        "r_cut": 5.0,
        "g2_eta": (0.5,),
        "g2_r_s": (0.5, 1.5, 2.5),
        "g5_zeta": (1, 4),
        "g5_eta": (0.1,),
    }
    return Fingerprint(ACSF(elements=elements, **{**parameters, **own}), **changes)


def whole(elements: tuple[str, ...] = ("H", "O", "Pt"), **changes: object) -> Fingerprint:
    """A small fingerprint with all poolings, so that one program tests them all."""
    return small(elements, **{"poolings": POOLINGS, "max_atoms": 5, **changes})


SMALL = small()


@partial(jax.jit, static_argnums=0)
def compiled(fingerprint: Fingerprint, structure: Structure) -> jax.Array:
    return fingerprint(structure)


def placed(structure: Structure, positions: jax.Array) -> Structure:
    """The structure with other positions."""
    return dataclasses.replace(structure, positions=positions)
