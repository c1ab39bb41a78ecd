"""How far predictions can be trusted, atom by atom: what `jaxrecon evaluate rigidity` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxrecon.cli import options
from jaxrecon.cli.verbs import Report

RIGIDITY = "rigidity"
"""The name of the evaluation."""


def evaluate(inputs: Sequence[Path], output: Path | None, *, force: bool) -> Report:
    """Predict energies of atoms with their deviations and rigidities, and write them.

    Args:
        inputs: the folder of a model that gives each atom an energy, and files of structures.
        output: file of structures, or page of the explorer, to write.
        force: whether an existing file is replaced.

    Returns:
        The report.

    Raises:
        ValueError: if there is no output, model or structure, or the model gives no energies of
            atoms or lacks an element.
        OSError: if a file can't be read or written.
    """
    from jaxrecon.runtime.files import check_output

    if output is None:
        raise ValueError("expected --output with structures like out.extxyz, got none")
    page = output.suffix == ".html"
    check_output(output, force, suffix=".html" if page else None)
    folders = [path for path in inputs if path.is_dir()]
    files = [path for path in inputs if path not in folders]
    if len(folders) != 1 or not files:
        raise ValueError(
            f"expected one model and files of structures, got {' '.join(map(str, inputs))}"
        )
    if page:
        from jaxrecon.plotting import explorer

        explorer.check_packages("pca")
    # Reading a model starts JAX, which can't be given more devices afterwards.
    options.start_jax()
    import numpy as np

    from jaxrecon.inverse_design.rigidities import with_rigidities
    from jaxrecon.models.folder import load_model
    from jaxrecon.structures.io import read_structures, write_structures

    structures = [atoms for path in files for atoms in read_structures(path)]
    found = with_rigidities(load_model(folders[0]), structures)
    if page:
        from jaxrecon.datasets.frames import from_frames

        title = " ".join(path.name for path in files)
        names = ("local_rigidities", "local_deviations", "local_energies")
        local = {name: [atoms.arrays[name] for atoms in found] for name in names}
        explorer.explore(from_frames(found), output, title=title, local=local)
    else:
        write_structures(output, found)
    rigidities = np.concatenate([atoms.arrays["local_rigidities"] for atoms in found])
    deviations = np.array([atoms.info["deviation"] for atoms in found])
    payload: dict[str, Any] = {
        "structures": len(found),
        "atoms": len(rigidities),
        "smallest": float(rigidities.min()),
        "median": float(np.median(rigidities)),
        "deviation": float(np.median(deviations)),
    }
    text = (
        f"{output}: {len(found)} structures; rigidity of {len(rigidities)} atoms from "
        f"{payload['smallest']:.3g}, median {payload['median']:.3g}; median deviation "
        f"{payload['deviation']:.4f} eV/atom"
    )
    return Report(text, payload, [output])
