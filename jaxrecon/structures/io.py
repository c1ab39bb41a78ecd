"""Reading and writing of structures in the file formats of ASE."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import ase.io
from ase import Atoms

from jaxrecon.runtime.archives import reason
from jaxrecon.runtime.files import existing, replacing


def read_structures(path: str | os.PathLike[str]) -> list[Atoms]:
    """Read all structures of a file in any format of ASE.

    Args:
        path: the file.

    Returns:
        The structures in order; positions and cells in Angstrom.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if ASE can't read it, or if it has no structure or one without atoms.
    """
    path = existing(path, "a file of structures")
    try:
        frames = ase.io.read(path, index=":", do_not_split_by_at_sign=True)
    # Each format of ASE fails with exceptions of its own.
    except Exception as error:
        raise ValueError(
            f"expected structures that ASE can read, got {path} ({reason(error)})"
        ) from error
    structures = [frames] if isinstance(frames, Atoms) else list(frames)
    if not structures:
        raise ValueError(f"expected at least one structure in {path}, got none")
    for number, atoms in enumerate(structures):
        if len(atoms) == 0:
            raise ValueError(f"expected atoms in structure {number} of {path}, got none")
    return structures


def write_structures(path: str | os.PathLike[str], structures: Sequence[Atoms]) -> None:
    """Write structures as extended XYZ (``.extxyz``, ``.xyz``) or in the format of the suffix.

    Args:
        path: the file to write; its suffix names the format.
        structures: the frames; positions and cells in Angstrom.

    Raises:
        ValueError: if ASE has no such format or can't write these structures in it.
        OSError: if the file can't be written.
    """
    path = Path(path)
    with replacing(path) as draft:
        _write_frames(draft, structures)


def check_format(path: str | os.PathLike[str], structures: Sequence[Atoms]) -> None:
    """Try to write such structures to a temporary file, before hours of work depend on it.

    Args:
        path: the file that will be written; only its name matters.
        structures: structures with the elements and cells of those that will be written, and as
            many.

    Raises:
        ValueError: as :func:`write_structures`.
    """
    with tempfile.TemporaryDirectory() as directory:
        _write_frames(Path(directory) / Path(path).name, structures)


def _write_frames(path: Path, structures: Sequence[Atoms]) -> None:
    """Write structures by ASE, and report its failures as a ``ValueError``."""
    kind = "extxyz" if path.suffix in {".extxyz", ".xyz"} else None
    try:
        ase.io.write(path, list(structures), format=kind)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(
            f"expected a file that ASE can write {len(structures)} structures to, like .extxyz, "
            f"got {path.name} ({reason(error)})"
        ) from error
