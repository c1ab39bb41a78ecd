"""Evaluation: the tables of Fung et al. (arXiv 2207.13227) as rows of plain numbers.

Their table 1 has the surrogate's predictions for generated fingerprints; their table 2 has the
energies that a reference calculator finds for structures made of them. A row is a dictionary;
numbers that are unknown are None.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jaxtyping import Bool, Float

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.inverse_design.config import GenerateConfig, miss, wanted_of
from jaxrecon.inverse_design.generated import diversity, widths_of
from jaxrecon.models.coordinates import Coordinates
from jaxrecon.models.design_model import DesignModel

TARGETS = (1.9, 2.2, 2.5, 2.8, 3.1, 3.4, 3.7)
"""Formation energies of the published samples, in eV/atom."""

WITHIN = 0.1
"""Largest distance of an energy from the target, in eV/atom, that counts as a hit."""

ROUND_OFF = 1e-9
"""Relative violation of the bounds on a fingerprint that still counts as round-off."""

MATRIX_ROUND_OFF = 1e-5
"""The same for numbers that form a matrix, in units of the largest of them: float32 has no more."""

Row = dict[str, Any]
"""A row of a table, by the names of the columns."""


def table1(
    model: DesignModel,
    targets: Sequence[float] = TARGETS,
    *,
    samples: int = 1000,
    seed: int = 0,
    agree: float | None = GenerateConfig.agree,
) -> list[Row]:
    """Compare the surrogate's predictions for generated fingerprints with the targets.

    Columns: ``fingerprints``, either ``drawn`` (all samples, as published) or ``taken`` (those that
    the surrogate disagrees with are drawn again); ``within``, the fraction whose prediction is
    within 0.1 eV/atom of the target; ``mae`` and ``bias``, mean absolute and mean difference in
    eV/atom; ``deviation``, mean predicted standard deviation in eV/atom; ``impossible``, the
    fraction that no structure can have; ``diversity``.

    Args:
        model: model with a generator and a surrogate.
        targets: wanted values of the property, in eV/atom.
        samples: number of fingerprints per target.
        seed: seed of the random numbers.
        agree: as in :class:`~jaxrecon.inverse_design.config.GenerateConfig`; None for drawn
            fingerprints alone.

    Returns:
        One row per target for drawn fingerprints, and one for taken ones.
    """
    known = model.training.fingerprints
    assert known is not None, "a model has the fingerprints of its training set"
    rows, widths = [], widths_of(known)
    kinds = {"drawn": None} if agree is None else {"drawn": None, "taken": agree}
    for target in targets:
        for kind, limit in kinds.items():
            fingerprints = model.sample(target, samples, seed, agree=limit)
            means, deviations = model.predict(fingerprints)
            rows.append(
                {
                    "target": target,
                    "fingerprints": kind,
                    "samples": samples,
                    **_errors(means, target),
                    "deviation": float(deviations.mean()),
                    "impossible": float(np.mean(impossible(model.fingerprint, fingerprints))),
                    "diversity": diversity(fingerprints, widths),
                }
            )
    return rows


def impossible(
    fingerprint: Fingerprint, fingerprints: Float[np.ndarray, "n p"]
) -> Bool[np.ndarray, " n"]:
    """Find fingerprints that no structure has: they violate a bound that holds for all of them.

    A number is negative that can't be, a maximum is smaller than the minimum, or a matrix of scalar
    products has a negative eigenvalue.

    Args:
        fingerprint: parameters of the fingerprints.
        fingerprints: one row per fingerprint, without a unit.

    Returns:
        Whether each fingerprint is impossible.
    """
    # The way to coordinates and back moves an impossible fingerprint to a possible one.
    coordinates = Coordinates.of(fingerprint)
    values = coordinates.forward_many(fingerprints)
    with jax.enable_x64(True):
        back = np.asarray(jax.vmap(coordinates.backward)(jnp.asarray(values)))
    limit = ROUND_OFF * np.maximum(1.0, np.abs(fingerprints))
    for matrix in coordinates.matrices:
        entries = list(matrix.number)
        largest = np.abs(fingerprints[:, entries]).max(axis=1, keepdims=True)
        limit[:, entries] = np.maximum(limit[:, entries], MATRIX_ROUND_OFF * largest)
    return (np.abs(back - fingerprints) > limit).any(axis=1)


def table2(structures: Iterable[Atoms]) -> list[Row]:
    """Compare the energies of a reference calculator with the wanted values, for each of them.

    Columns: ``structures``, either ``raw`` (all) or ``screened`` (accepted); their ``count`` and
    the number ``judged``, which have an energy; ``hits``, the number within 0.1 eV/atom of the
    target or range, and ``within``, their fraction of all, where a structure without an energy is a
    miss; ``mae`` and ``bias``, mean absolute and mean difference from it in eV/atom;
    ``prediction_mae``, mean absolute difference of energy and prediction; ``calibration``, root
    mean square of that difference over the predicted deviation, which should be 1.

    Args:
        structures: structures of :func:`~jaxrecon.inverse_design.generation.generate`, with
            ``e_form`` in ``info`` as from :func:`~jaxrecon.potentials.judge.judge`.

    Returns:
        One or two rows for each target or range.

    Raises:
        ValueError: if a structure does not say for which value it was made.
    """
    groups: dict[tuple[float, float], list[Mapping[str, Any]]] = {}
    for number, atoms in enumerate(structures):
        wanted = wanted_of(atoms.info)
        if wanted is None:
            raise ValueError(f"expected a target of structure {number}, got {sorted(atoms.info)}")
        groups.setdefault(wanted, []).append(atoms.info)
    rows = []
    for wanted in sorted(groups):
        infos = groups[wanted]
        rows.append(_judged(wanted, "raw", infos))
        if any("accepted" in info for info in infos):
            accepted = [info for info in infos if info.get("accepted")]
            rows.append(_judged(wanted, "screened", accepted))
    return rows


def over_seeds(tables: Sequence[Sequence[Row]], name: str = "within") -> list[Row]:
    """Compute the mean and the sample standard deviation of a column over several tables.

    Args:
        tables: tables of the same rows, one per seed.
        name: name of the column.

    Returns:
        One row for each target or range and kind of structures or fingerprints.

    >>> over_seeds([[{"target": 1.9, "within": 0.2}], [{"target": 1.9, "within": 0.4}]])
    [{'target': 1.9, 'within': 0.30000000000000004, 'spread': 0.14142135623730953, 'seeds': 2}]
    """
    # Rows are the same if all that identifies them is the same.
    keys = ("target", "at_least", "at_most", "structures", "fingerprints")
    values: dict[tuple, list[float]] = {}
    heads: dict[tuple, Row] = {}
    for table in tables:
        for row in table:
            head = {key: row[key] for key in keys if key in row}
            heads[tuple(head.items())] = head
            if row[name] is not None:
                values.setdefault(tuple(head.items()), []).append(row[name])
    return [
        {
            **head,
            name: float(np.mean(values[key])) if key in values else None,
            "spread": float(np.std(values[key], ddof=1)) if len(values.get(key, [])) > 1 else None,
            "seeds": len(values.get(key, [])),
        }
        for key, head in heads.items()
    ]


def text(rows: Sequence[Row]) -> str:
    """Format rows as a table to read, with a column for every name.

    Args:
        rows: rows of a table.

    Returns:
        The lines of the table.

    >>> print(text([{"target": 1.9, "within": 0.25}, {"target": 2.2, "within": None}]))
    target  within
     1.900   0.250
     2.200       -
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    columns = [
        [name, *column] for name, column in zip(names, zip(*cells, strict=True), strict=True)
    ]
    widths = [max(map(len, column)) for column in columns]
    lines = zip(*columns, strict=True)
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _cell(value: Any) -> str:
    """Format one value of a table."""
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _errors(values: Float[np.ndarray, " n"], target: float | tuple[float, float]) -> Row:
    """Compare values with a target or a range."""
    misses = np.array([miss(float(value), target) for value in values])
    return {
        "within": float(np.mean(np.abs(misses) <= WITHIN)),
        "mae": float(np.mean(np.abs(misses))),
        "bias": float(np.mean(misses)),
    }


def _judged(wanted: tuple[float, float], kind: str, infos: Sequence[Mapping[str, Any]]) -> Row:
    """Make the row of one group of structures."""
    low, high = wanted
    head: Row = {"target": low} if low == high else {"at_least": low, "at_most": high}
    known = [info for info in infos if "e_form" in info]
    row: Row = {**head, "structures": kind, "count": len(infos), "judged": len(known)}
    # Energies against the wanted values.
    if known:
        errors = _errors(np.array([info["e_form"] for info in known], np.float64), wanted)
        hits = round(errors["within"] * len(known))
        row |= {
            "hits": hits,
            "within": hits / len(infos),
            "mae": errors["mae"],
            "bias": errors["bias"],
        }
    else:
        row |= {"hits": 0, "within": 0.0 if infos else None, "mae": None, "bias": None}
    # Energies against the predictions. Structures from elsewhere may have none.
    predicted = [info for info in known if np.isfinite(info.get("predicted", np.nan))]
    wrong = np.array([info["e_form"] - info["predicted"] for info in predicted])
    deviations = np.array([info["deviation"] for info in predicted])
    row["prediction_mae"] = float(np.mean(np.abs(wrong))) if predicted else None
    certain = bool(predicted) and bool((deviations > 0.0).all())
    row["calibration"] = float(np.sqrt(np.mean((wrong / deviations) ** 2))) if certain else None
    return row
