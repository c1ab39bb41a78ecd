"""Checkpoints: trees of arrays on disk, written by Orbax, whole whenever the process ends."""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


def save(folder: str | os.PathLike[str], step: int, tree: Any) -> None:
    """Keep a tree of arrays, in place of the one of an earlier step.

    Args:
        folder: of the checkpoints; made if it is not there.
        step: larger than that of all before.
        tree: nested dictionaries, lists or tuples of arrays.

    Raises:
        OSError: if it can't be written.
    """
    with _manager(folder) as manager:
        # Of devices nothing is kept: a run may go on with others.
        arrays = jax.tree.map(np.asarray, jax.device_get(tree))
        manager.save(step, args=ocp.args.StandardSave(arrays))


def latest(folder: str | os.PathLike[str], like: Any = None) -> Any | None:
    """The tree that was kept last, None if there is none.

    Args:
        folder: of the checkpoints.
        like: a tree of the same form with arrays of the same shapes and types; None for nested
            dictionaries of whatever is there, numbers for keys that are digits.

    Raises:
        ValueError: if what is there has another form, or can't be read.
    """
    if not Path(folder).is_dir():
        return None
    with _manager(folder) as manager:
        step = manager.latest_step()
        if step is None:
            return None
        forms = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
        try:
            tree = manager.restore(step, args=ocp.args.StandardRestore(forms))
        # Orbax and tensorstore fail each in their own way.
        except Exception as error:
            raise ValueError(
                f"expected a checkpoint of this model in {folder}, got {type(error).__name__}: "
                f"{str(error).splitlines()[0]}"
            ) from error
        return _numbered(tree) if like is None else tree


def _numbered(tree: Any) -> Any:
    """Orbax makes words of all keys."""
    if not isinstance(tree, dict):
        return tree
    return {int(key) if key.isdigit() else key: _numbered(value) for key, value in tree.items()}


def _manager(folder: str | os.PathLike[str]) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
        max_to_keep=1, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    return ocp.CheckpointManager(Path(folder).absolute(), options=options)
