"""Maps of fingerprints: components against scikit-learn, and what is drawn."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.decomposition import PCA

from jaxrecon.plotting.maps import PrincipalMaps, principal_components, principal_maps


@pytest.mark.parametrize("seed", range(3))
def test_principal_components_are_those_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    values = random.normal(size=(80, 4)) @ random.normal(size=(4, 9)) + 5.0
    points, fractions = principal_components(values, 3)
    theirs = PCA(3).fit(values)
    np.testing.assert_allclose(fractions, theirs.explained_variance_ratio_, rtol=1e-9)
    np.testing.assert_allclose(np.abs(points), np.abs(theirs.transform(values)), atol=1e-9)
    loadings = np.linalg.lstsq(points, values - values.mean(axis=0), rcond=None)[0]
    assert (loadings[np.arange(3), np.abs(loadings).argmax(axis=1)] > 0.0).all()


def test_components_of_rows_that_are_all_the_same():
    points, fractions = principal_components(np.ones((4, 3)))
    assert not points.any()
    assert not fractions.any()
    with pytest.raises(ValueError, match=re.escape("2 rows and columns, got shape (1, 3)")):
        principal_components(np.ones((1, 3)))


def test_maps_show_the_subset_above_the_whole():
    values = np.random.default_rng(0).normal(size=(20, 5))
    energies = np.linspace(1.8, 3.7, 20)
    energies[4] = np.nan
    subsets = {"few": np.array([2, 7, 4]), "all": np.arange(20)}
    few, every = principal_maps(PrincipalMaps(values, energies, subsets)).axes[:2]
    assert [len(dots.get_offsets()) for dots in few.collections] == [20, 3]
    assert [len(dots.get_offsets()) for dots in every.collections] == [20]
    points = principal_components(values)[0]
    np.testing.assert_allclose(few.collections[1].get_offsets(), points[[7, 2, 4]])
    np.testing.assert_allclose(few.collections[1].get_array()[:2], energies[[7, 2]])
    assert few.collections[1].get_clim() == every.collections[0].get_clim() == (1.8, 3.7)
    with pytest.raises(ValueError, match="expected at least one subset to draw, got none"):
        principal_maps(PrincipalMaps(values, energies, {}))
