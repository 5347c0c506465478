"""How far one set of features lies from another: KID, Fréchet distance, precision and recall.

Features are ``(N, D)`` arrays, one row per picture; everything is computed in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 1000  # of the bootstrap
NEIGHBOURS = 3  # k of Kynkäänniemi et al., 2019


@dataclass(frozen=True)
class Interval:
    """A value and the bounds of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def kid(
    x: Floats, y: Floats, partners: Sequence[int] | None = None, resamples: int = RESAMPLES
) -> Interval:
    """Kernel Inception Distance: the unbiased squared MMD (Bińkowski et al., 2018, section 4).

    All pictures are compared with all others at once, not in random subsets. Being unbiased, it is
    as often below as above zero for two samples of one distribution. The interval resamples
    pictures of both sets; a copy is never compared with itself, which would bias it upwards. Of
    sets of one distribution it is 1.5 to 1.7 times too wide (it held zero in all of 150 draws of 8,
    30 and 80 zebras each, Lite0 features); of horses and zebras it held the distance in 89, 91 and
    97 % of draws of 8, 30 and 80. At least two rows each; of two the interval is NaN.

    ``partners``: for each row of ``x`` the row of ``y`` that shows the same (-1: none). The two are
    not compared with each other, as they are no independent draws: a translation that equals its
    truth would bring the distance below zero (Gretton et al., 2012, eq. 4).
    """
    xx, yy, xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    np.fill_diagonal(xx, 0)
    np.fill_diagonal(yy, 0)
    of_x = np.array(partners or (), np.int64)
    paired_x = np.flatnonzero(of_x >= 0)
    paired_y = of_x[paired_x]
    xy[paired_x, paired_y] = 0
    rng = np.random.default_rng(0)
    m, n = len(x), len(y)
    weights_x = rng.multinomial(m, np.full(m, 1 / m), size=resamples).astype(np.float64)
    weights_y = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    # A resample that drew nothing but copies of one picture has no pair to look at.
    usable = (weights_x.max(axis=1) < m) & (weights_y.max(axis=1) < n)
    weights_x, weights_y = weights_x[usable], weights_y[usable]

    def mmd(wx: Floats, wy: Floats) -> Floats:
        """The squared MMD for each row of weights."""
        within_x = ((wx @ xx) * wx).sum(axis=1) / _pair_weight(wx)
        within_y = ((wy @ yy) * wy).sum(axis=1) / _pair_weight(wy)
        left_out = (wx[:, paired_x] * wy[:, paired_y]).sum(axis=1)
        between = ((wx @ xy) * wy).sum(axis=1) / (wx.sum(axis=1) * wy.sum(axis=1) - left_out)
        result: Floats = within_x + within_y - 2 * between
        return result

    values = mmd(weights_x, weights_y)
    known = resamples and min(m, n) > 2  # (two rows make one pair, whatever is drawn)
    low, high = np.quantile(values, [0.025, 0.975]) if known else (np.nan, np.nan)
    (value,) = mmd(np.ones((1, m)), np.ones((1, n)))
    return Interval(float(value), float(low), float(high))


def _kernel(x: Floats, y: Floats) -> Floats:
    """(x.y / D + 1)^3, the kernel of KID."""
    result: Floats = (x @ y.T / x.shape[1] + 1) ** 3
    return result


def _pair_weight(weights: Floats) -> Floats:
    """The weight of all pairs of two different pictures."""
    result: Floats = weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)
    return result


def frechet_distance(x: Floats, y: Floats) -> float:
    """|mean_x - mean_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)) (Heusel et al., 2017, eq. 6).

    Strongly biased upwards for fewer than a few thousand pictures. At least two rows each.
    """
    difference = x.mean(axis=0) - y.mean(axis=0)
    root_x, root_y = _root(x), _root(y)
    # With C_x = A^T A and C_y = B^T B, the trace of the root is the sum of A B^T's singular values.
    singular = np.linalg.svd(root_x @ root_y.T, compute_uv=False)
    spread = (root_x**2).sum() + (root_y**2).sum() - 2 * singular.sum()
    return float(difference @ difference + spread)


def _root(x: Floats) -> Floats:
    """A matrix R with R^T R = the covariance of the rows of ``x``; at most D rows."""
    centred: Floats = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
    if len(x) <= x.shape[1]:
        return centred
    reduced: Floats = np.linalg.qr(centred)[1]
    return reduced


def precision_recall(real: Floats, fake: Floats, k: int = NEIGHBOURS) -> tuple[float, float]:
    """How many fakes look real, and how much of the real variety the fakes reach; 0 to 1.

    Kynkäänniemi et al., 2019: a set's manifold is the union of balls around its pictures that
    reach to the k-th nearest neighbour. Precision is the share of fakes inside the real
    manifold, recall the share of real pictures inside that of the fakes. More than ``k`` rows.
    """
    between = _distances(real, fake)
    inside_real = between <= _radii(real, k)[:, None]
    inside_fake = between <= _radii(fake, k)[None, :]
    return float(inside_real.any(axis=0).mean()), float(inside_fake.any(axis=1).mean())


def nearest_distance(x: Floats, y: Floats, k: int = NEIGHBOURS) -> Floats:
    """For each row of ``x`` the mean distance to its ``k`` nearest rows of ``y``."""
    nearest: Floats = np.partition(_distances(x, y), k - 1, axis=1)[:, :k].mean(axis=1)
    return nearest


def _radii(x: Floats, k: int) -> Floats:
    distances = _distances(x, x)
    np.fill_diagonal(distances, 0)  # rounding must not move a picture away from itself
    result: Floats = np.partition(distances, k, axis=1)[:, k]
    return result


def _distances(x: Floats, y: Floats) -> Floats:
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None, :] - 2 * x @ y.T
    result: Floats = np.sqrt(np.maximum(squares, 0))
    return result
