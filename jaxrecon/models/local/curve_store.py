"""The points of a learning curve, in a JSON file that an interrupted run continues from."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from jaxrecon.runtime.files import check_output, replacing


class Point(NamedTuple):
    """The error of one fitted model.

    Attributes:
        model: name of the model; of a pre-trained one, ``"pretrained"``, and else ``"direct"``.
        size: number of training examples.
        fold: number of the part of the data that it was tested on.
        mae: mean absolute error in eV, of local energies or of energies per atom.
        rmse: root mean square error in eV.
        spread: standard deviation of the energies of the test examples in eV.
        seconds: time of the fit.
    """

    model: str
    size: int
    fold: int
    mae: float
    rmse: float
    spread: float
    seconds: float


class Store:
    """Points in a JSON file, which is replaced whenever there is a new one.

    Args:
        path: the file; None for none.
        description: what the points belong to, as plain data.
        resume: whether to read the points that are in the file.

    Raises:
        ValueError: if the file has the points of something else.
        OSError: if it can't be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        description: dict[str, Any],
        resume: bool = True,
    ) -> None:
        self._path = None if path is None else Path(path)
        # What JSON makes of it: lists for tuples.
        self._description = json.loads(json.dumps(description))
        self._points: dict[tuple[str, int, int], Point] = {}
        if self._path is None:
            return
        check_output(self._path, force=True)
        if resume and self._path.exists():
            found, points = stored(self._path)
            if found != self._description:
                raise ValueError(f"expected the points of this run in {path}, got another's")
            self._points = {(point.model, point.size, point.fold): point for point in points}

    def has(self, model: str, size: int, fold: int) -> bool:
        """Whether a point is known."""
        return (model, size, fold) in self._points

    def get(self, model: str, size: int, fold: int) -> Point:
        """A known point."""
        return self._points[model, size, fold]

    def add(self, point: Point) -> None:
        """Remember a point, on disk if there is a file."""
        self._points[point.model, point.size, point.fold] = point
        if self._path is not None:
            points = [known._asdict() for known in self._points.values()]
            content = {"description": self._description, "points": points}
            with replacing(self._path) as draft:
                draft.write_text(json.dumps(content, indent=1))


def stored(path: Path) -> tuple[Any, list[Point]]:
    """Read the file of a store.

    Args:
        path: the file.

    Returns:
        The description of the run, and the points that are known.

    Raises:
        ValueError: if it is no such file.
    """
    try:
        found = json.loads(path.read_text())
        return found["description"], [Point(**point) for point in found["points"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"expected points of a run in {path}, got none") from error
