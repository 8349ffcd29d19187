"""The scale of columns: by what each is shifted and divided, and when that no longer fits.

A column's deviation serves where enough rows speak for it: so columns in different units count alike. Where few do (a
pixel that has ink in one of two hundred rows), dividing by it would blow up what comes later. There it is drawn towards
the median deviation of the columns, in logarithms, since units are factors; and only ever up. See
``docs/design/017-scaling.md``.
"""

from __future__ import annotations

import numpy as np

from dripstone.models.moments import Moments

ENOUGH = 30
"""Rows on which a column's deviation has to rest to stand alone: its standard error is about a tenth then."""

SHARE = 0.2
"""The share of all rows that they have to be as well: a normal column's are a third, those of a pixel with ink in one
row of a hundred are one in a hundred, however many there are."""

APART = 1.5
"""How many times larger or smaller a column's scale has to be than the rows ask for to be badly off."""

ASIDE = 1.0
"""How many scales the mean of a column has to lie from its shift: a kernel does not see shifts, rounding does."""

_TINY = float(np.finfo(np.float32).tiny)
_RESOLUTION = float(np.finfo(np.float32).eps)


def varied(moments: Moments) -> np.ndarray:
    """Which columns vary by more than float32 rounds, [columns] bool."""
    return moments.deviation() > _RESOLUTION * np.abs(moments.mean) + _TINY


def scale_of(moments: Moments) -> np.ndarray:
    """By what columns are divided, [columns] float64; 1 where none varies.

    Examples
    --------
    >>> from dripstone.models.moments import moments_of
    >>> draw = np.random.default_rng(0)
    >>> ink = np.arange(200) == 7  # a pixel with ink in one row
    >>> rows = np.stack([draw.normal(0, 0.01, 200), draw.normal(0, 5, 200), draw.normal(0, 900, 200), ink], axis=1)
    >>> scale_of(moments_of(rows)).round(2).tolist()
    [0.01, 5.13, 899.69, 2.37]
    """
    deviation, varies = moments.deviation(), varied(moments)
    if not varies.any():
        return np.ones_like(deviation)
    median = np.median(deviation[varies])
    share = np.where(varies, np.minimum(moments.support() / max(ENOUGH, SHARE * moments.rows), 1.0), 0.0)
    own = np.where(varies, deviation, median)
    return np.maximum(own, own**share * median ** (1 - share))


def columns_off(shift: np.ndarray, scale: np.ndarray, moments: Moments) -> np.ndarray:
    """Which columns of these rows are badly scaled by a shift and scale, [columns] bool.

    Examples
    --------
    >>> from dripstone.models.moments import moments_of
    >>> rows = np.random.default_rng(0).normal(0, 2, (300, 2))
    >>> columns_off(np.zeros(2), np.array([2.0, 0.1]), moments_of(rows)).tolist()
    [False, True]
    """
    due = scale_of(moments)
    return (np.maximum(scale / due, due / scale) > APART) | (np.abs(shift - moments.mean) > ASIDE * due)
