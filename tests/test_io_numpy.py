"""Fingerprints that other programs have saved as arrays of NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jaxrecon.descriptors.io import read_fingerprints


def test_arrays_of_numpy(tmp_path: Path) -> None:
    """One target or several, of any type of numbers; other content is refused in one line."""
    path = tmp_path / "targets.npy"
    for array in (np.arange(3.0), np.ones((2, 3), np.float32), np.array([[1, 2]])):
        np.save(path, array)
        found = read_fingerprints(path).values
        np.testing.assert_array_equal(found, np.atleast_2d(array))
        assert found.dtype == (array.dtype if array.dtype.kind == "f" else np.float64)
    for array, message in (
        (np.array(["a"]), "expected an array of real numbers in"),
        (np.array([1j]), "expected an array of real numbers in"),
        (np.array([None]), "expected an array of NumPy in"),
        (np.array([1.0, np.nan]), "got nan in row 0, column 1"),
        (np.ones((2, 2, 2)), r"expected at least one row of numbers .* got shape \(2, 2, 2\)"),
    ):
        np.save(path, array, allow_pickle=True)
        with pytest.raises(ValueError, match=message) as caught:
            read_fingerprints(path)
        assert "\n" not in str(caught.value)
    path.write_text("1,2")
    with pytest.raises(ValueError, match="expected an array of NumPy in"):
        read_fingerprints(path)
