"""Evaluation: the tables and figures of Fung et al., arXiv 2207.13227, as rows of plain numbers.

Their table 1 asks the surrogate what it thinks of generated fingerprints, their table 2 asks a
judge what structures made of these have. A row is a dictionary; numbers that are not there are
None.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jaxtyping import Bool, Float

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.inverse_design.config import GenerateConfig, asked, miss
from jaxrecon.inverse_design.generated import diversity, widths_of
from jaxrecon.models.coordinates import Coordinates
from jaxrecon.models.design_model import DesignModel

TARGETS = (1.9, 2.2, 2.5, 2.8, 3.1, 3.4, 3.7)
"""Formation energies of the published samples, in eV/atom."""

WITHIN = 0.1
"""How far an energy may be from the target to count, in eV/atom."""

POSSIBLE = 1e-9
"""By how much a fingerprint may break what holds for all of them, as of round-off."""

Row = dict[str, Any]


def table1(
    model: DesignModel,
    targets: Sequence[float] = TARGETS,
    *,
    samples: int = 1000,
    seed: int = 0,
    agree: float | None = GenerateConfig.agree,
) -> list[Row]:
    """What the surrogate thinks of fingerprints that are generated at each target.

    ``fingerprints``: all that are ``drawn``, as published; or those ``taken``, where others are
    drawn again. ``within``: the part of them that it predicts within 0.1 eV/atom of the target;
    ``mae`` and ``bias``: mean absolute and mean difference in eV/atom; ``impossible``: the part of
    them that no structure has, as a number is negative that can't be, or a largest value below the
    smallest.

    Args:
        model: with a generator.
        targets: values of the property.
        samples: fingerprints a target.
        seed: of the random numbers.
        agree: as in :class:`~jaxrecon.inverse_design.config.GenerateConfig`; None for the drawn
            alone.

    Returns:
        One or two rows a target.
    """
    rows, widths = [], _widths(model)
    kinds = {"drawn": None} if agree is None else {"drawn": None, "taken": agree}
    for target in targets:
        for kind, within in kinds.items():
            drawn = model.sample(target, samples, seed, agree=within)
            means, deviations = model.predict(drawn)
            rows.append(
                {
                    "target": target,
                    "fingerprints": kind,
                    "samples": samples,
                    **_errors(means, target),
                    "deviation": float(deviations.mean()),
                    "impossible": float(np.mean(impossible(model.fingerprint, drawn))),
                    "diversity": diversity(drawn, widths),
                }
            )
    return rows


def impossible(fingerprint: Fingerprint, rows: Float[np.ndarray, "n p"]) -> Bool[np.ndarray, " n"]:
    """Of which rows it is plain that no structure has them as its fingerprint.

    Args:
        fingerprint: what the rows are to be.
        rows: numbers without a unit.
    """
    coordinates = Coordinates.of(fingerprint)
    with jax.enable_x64(True):
        forth = jax.vmap(coordinates.forward)(jnp.asarray(rows, jnp.float64))
        back = np.asarray(jax.vmap(coordinates.backward)(forth))
    return (np.abs(back - rows) > POSSIBLE * np.maximum(1.0, np.abs(rows))).any(axis=1)


def table2(structures: Iterable[Atoms]) -> list[Row]:
    """What a judge says of structures, by what was wanted of them: all of them, and those kept.

    ``within``: the part of all that has an energy within 0.1 eV/atom of the target, or of the
    range, and ``hits``, how many; one without an energy is a miss. ``mae`` and ``bias``: mean
    absolute and mean difference in eV/atom of those with an energy; ``surprise``: mean absolute
    difference of the energy from the prediction; ``sureness``: root mean square of that
    difference by the standard deviation that goes with the prediction, which should be 1.

    Args:
        structures: of :func:`~jaxrecon.inverse_design.generation.generate`, with ``e_form`` in
            ``info`` as :func:`~jaxrecon.potentials.judge.judge` gives it.

    Raises:
        ValueError: if nothing was wanted of one.
    """
    by_wish: dict[tuple[float, float], list[Mapping[str, Any]]] = {}
    for number, atoms in enumerate(structures):
        wanted = asked(atoms.info)
        if wanted is None:
            raise ValueError(f"expected a target of structure {number}, got {sorted(atoms.info)}")
        by_wish.setdefault(wanted, []).append(atoms.info)
    rows = []
    for wanted in sorted(by_wish):
        infos = by_wish[wanted]
        rows.append(_judged(wanted, "raw", infos))
        if any("kept" in info for info in infos):
            rows.append(_judged(wanted, "screened", [info for info in infos if info.get("kept")]))
    return rows


def over_seeds(tables: Sequence[Sequence[Row]], name: str = "within") -> list[Row]:
    """Mean, and sample standard deviation, of a column over tables of the same rows.

    Args:
        tables: one a seed.
        name: of the column.

    Returns:
        One row for each target, range and kind of structures that all tables have.

    >>> over_seeds([[{"target": 1.9, "within": 0.2}], [{"target": 1.9, "within": 0.4}]])
    [{'target': 1.9, 'within': 0.30000000000000004, 'spread': 0.14142135623730953, 'seeds': 2}]
    """
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
    """Rows as a table to read; a column for each name that one of them has.

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
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _widths(model: DesignModel) -> Float[np.ndarray, " p"]:
    rows = model.training.fingerprints
    assert rows is not None, "a model has the fingerprints of its training set"
    return widths_of(rows)


def _errors(values: Float[np.ndarray, " n"], target: float | tuple[float, float]) -> Row:
    misses = np.array([miss(float(value), target) for value in values])
    return {
        "within": float(np.mean(np.abs(misses) <= WITHIN)),
        "mae": float(np.mean(np.abs(misses))),
        "bias": float(np.mean(misses)),
    }


def _judged(wanted: tuple[float, float], kind: str, infos: Sequence[Mapping[str, Any]]) -> Row:
    low, high = wanted
    head: Row = {"target": low} if low == high else {"at_least": low, "at_most": high}
    known = [info for info in infos if "e_form" in info]
    energies = np.array([info["e_form"] for info in known], np.float64)
    row: Row = {**head, "structures": kind, "count": len(infos), "judged": len(known)}
    if known:
        errors = _errors(energies, wanted)
        hits = round(errors["within"] * len(known))
        row |= {
            "hits": hits,
            "within": hits / len(infos),
            **{k: errors[k] for k in ("mae", "bias")},
        }
    else:
        row |= {"hits": 0, "within": 0.0 if infos else None, "mae": None, "bias": None}
    told = [info for info in known if np.isfinite(info.get("predicted", np.nan))]
    wrong = np.array([info["e_form"] - info["predicted"] for info in told])
    unsure = np.array([info["deviation"] for info in told])
    row["surprise"] = float(np.mean(np.abs(wrong))) if told else None
    sure = bool(told) and bool((unsure > 0.0).all())
    row["sureness"] = float(np.sqrt(np.mean((wrong / unsure) ** 2))) if sure else None
    return row
