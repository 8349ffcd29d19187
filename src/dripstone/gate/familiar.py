"""Which rows are like the trusted ones, so that what the champion says of them counts.

A champion that is right on nineteen of twenty trusted rows has earned that on rows like them. Of rows that it has seen
nothing like it knows nothing, and where their labels contradict it they need not be wrong. So rows are told apart
without their labels: familiar is what lies no farther from the trusted rows than these lie from each other, by two
measures. The distance to the nearest one finds rows in the gaps between them. The leverage, which is the length of what
no combination of trusted rows explains, finds rows in directions that trusted rows do not have, as shuffled pixels are;
in many dimensions all rows are about as far from each other.

References
----------
Hoaglin and Welsch, "The Hat Matrix in Regression and ANOVA", 1978 (leverage, and a row's own without itself).
``docs/design/016-drift-and-the-gate.md`` has what was measured.
"""

from __future__ import annotations

import numpy as np

from dripstone.core.spacing import spaced

TYPICAL = 0.95
"""Share of the trusted rows that either measure calls familiar, each without itself."""

LOOK = 500
"""Trusted rows that are looked at, evenly from all, so that the cost does not grow with them."""

ROUNDING = 1e-9
"""Relative difference by which a row that was sent again may come out farther than it was."""

FEWEST = 20
"""Trusted rows below which nothing can be told, and everything is familiar."""


def find_familiar(features: np.ndarray, trusted: np.ndarray) -> np.ndarray:
    """Whether rows are like the trusted ones, [rows] bool; of trusted rows' own kind about nine in ten are.

    Parameters
    ----------
    features : numpy.ndarray
        [rows, d] float, the champion's. A row with a number that is not finite counts as familiar.
    trusted : numpy.ndarray
        [trusted, d] float, the champion's of rows that it was not trained on.

    Examples
    --------
    >>> draw = np.random.default_rng(0)
    >>> trusted, alike, turned = (draw.standard_normal((200, 30)) for _ in range(3))
    >>> for rows in (trusted, alike):
    ...     rows[:, 20:] *= 0.02
    >>> turned[:, :10] *= 0.02
    >>> print(find_familiar(alike, trusted).mean().round(1), find_familiar(turned, trusted).mean().round(1))
    0.9 0.0
    """
    familiar = np.ones(len(features), dtype=bool)
    looked_at = trusted[spaced(len(trusted), LOOK)]
    looked_at = looked_at[np.isfinite(looked_at).all(axis=1)].astype(np.float64)
    finite = np.isfinite(features).all(axis=1)
    if len(looked_at) < FEWEST or not finite.any():
        return familiar
    centre = looked_at.mean(axis=0)
    theirs, mine = looked_at - centre, features[finite].astype(np.float64) - centre
    gram, products = theirs @ theirs.T, mine @ theirs.T
    squares = (mine**2).sum(axis=1)
    # A column of ones, in the unit of a row's length: without itself, a trusted row must not have a part in the mean.
    ones = penalty = max(float(np.trace(gram)) / len(gram), np.finfo(np.float64).tiny)
    leverages = _leverages(gram + ones, products + ones, squares + ones, penalty)
    for (ours, own), unit in ((_distances(gram, products, squares), penalty), (leverages, 1.0)):
        # Rounding must not make a row that was sent again strange, also where most trusted rows stand there twice.
        familiar[finite] &= ours <= np.quantile(own, TYPICAL) * (1 + ROUNDING) + ROUNDING * unit
    return familiar


def _distances(gram: np.ndarray, products: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances to the nearest trusted row, of rows and of the trusted ones to another one."""
    lengths = gram.diagonal()
    own = lengths + lengths[:, None] - 2 * gram
    np.fill_diagonal(own, np.inf)
    return (lengths + squares[:, None] - 2 * products).min(axis=1), own.min(axis=1)


def _leverages(
    gram: np.ndarray, products: np.ndarray, squares: np.ndarray, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """x (T'T + penalty)^-1 x of rows and of the trusted ones without themselves.

    By the products of pairs of rows alone, so that it does not matter how many columns there are. The penalty is the
    mean squared length of a row: the more columns there are for the rows, the less is said of a single direction.
    """
    inverse = np.linalg.inv(gram + penalty * np.eye(len(gram)))
    mine = (squares - ((products @ inverse) * products).sum(axis=1)) / penalty
    own = 1 - penalty * inverse.diagonal()
    return mine, own / np.maximum(1 - own, np.finfo(np.float64).eps)
