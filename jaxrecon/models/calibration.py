"""Calibration: standard deviations that agree with errors, from variances without a unit."""

import numpy as np
from jaxtyping import Float


def calibrated(
    variances: Float[np.ndarray, " n"],
    errors: Float[np.ndarray, " n"],
    method: str = "squared",
) -> float:
    r"""Find the factor :math:`\alpha` that turns roots of variances into standard deviations.

    Args:
        variances: :math:`g^\mathsf{T} H^{-1} g` of validation examples.
        errors: errors of their predictions.
        method: ``"squared"``: the mean of :math:`(e/\alpha s)^2` is 1; ``"absolute"``: the mean of
            :math:`|e|/\alpha s` is that of a normal distribution; ``"crps"``: the continuous ranked
            probability score of normal distributions is smallest.

    Returns:
        The factor, in the unit of the errors.

    Raises:
        ValueError: if the method is unknown, there is no example, lengths differ, a variance is not
            positive, or all errors are zero.
    """
    if np.shape(variances) != np.shape(errors) or not np.size(errors):
        raise ValueError(
            f"expected as many errors as variances, at least one, got {np.size(errors)} and "
            f"{np.size(variances)}"
        )
    if not np.all(np.asarray(variances) > 0.0):
        raise ValueError("expected variances > 0, got others: some features are all zero")
    if not (np.isfinite(errors).all() and np.any(errors)):
        raise ValueError("expected finite errors that are not all zero, got others")
    spread = np.sqrt(variances)
    ratios = np.abs(errors) / spread
    if method == "squared":
        return float(np.sqrt(np.mean(ratios**2)))
    if method == "absolute":
        return float(ratios.mean() * np.sqrt(np.pi / 2.0))
    if method != "crps":
        raise ValueError(f"expected 'squared', 'absolute' or 'crps', got {method!r}")
    from scipy.optimize import minimize_scalar
    from scipy.stats import norm

    def score(logarithm: float) -> float:
        sigma = np.exp(logarithm) * spread
        z = errors / sigma
        return float(np.mean(sigma * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - np.pi**-0.5)))

    start = np.log(np.sqrt(np.mean(ratios**2)))
    found = minimize_scalar(score, bracket=(start - 1.0, start))
    return float(np.exp(found.x))


def calibrated_with_floor(
    variances: Float[np.ndarray, " n"], errors: Float[np.ndarray, " n"]
) -> tuple[float, float]:
    r"""Find a factor and a floor of standard deviations, :math:`\alpha^2 s^2 + \nu^2`.

    The floor is what no rigidity tells: the noise of the property, and what the features lack. Both
    have the largest likelihood among those for which the mean of the squared error over the
    variance is 1.

    Args:
        variances: as for :func:`calibrated`.
        errors: errors of the predictions.

    Returns:
        The factor :math:`\alpha` and the floor :math:`\nu`, in the unit of the errors.

    Raises:
        ValueError: as for :func:`calibrated`.

    >>> errors = np.array([2.0, -2.0, 2.0, -2.0])
    >>> factor, floor = calibrated_with_floor(np.array([1.0, 2.0, 4.0, 8.0]), errors)
    >>> factor, round(floor, 6)
    (0.0, 2.0)
    """
    best = (np.inf, 0.0, 0.0)
    mean = float(np.mean(variances))
    for share in np.linspace(0.0, 1.0, 21):
        mixed = (1.0 - share) * np.asarray(variances) + share * mean
        factor = calibrated(mixed, errors)
        cost = float(np.mean(np.log(factor**2 * mixed)))
        if cost < best[0]:
            best = cost, factor * float(np.sqrt(1.0 - share)), factor * float(np.sqrt(share * mean))
    return best[1:]
