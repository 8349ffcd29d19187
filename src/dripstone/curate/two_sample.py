"""Do two samples come from one source? An exact test that learns, block by block, how they differ.

Both samples are dealt into blocks. A witness learned on the blocks before scores the rows of a block: how near is a row
to new rows, how near to reference rows? If the two samples are exchangeable, then which rows of the block are the new
ones is a draw without replacement, whatever the witness: the sum of the ranks of their scores has a known distribution,
which is counted out, not approximated. The blocks' p-values are independent, and Fisher's sum joins them. No p-value is
the share of some thousand permutations, so that levels like 1e-7 can be reached; and every block but the first is
tested, where two halves would leave one half untested.

Scale and bandwidth are taken from both samples together, which does not tell them apart.

Exactness asks for exchangeable rows: independent draws from one source, features made by a map that was fitted to
neither sample, or to both alike. Rows that a model was tuned on look different to it from rows that it never saw.

References
----------
Gretton et al., "A kernel two-sample test", JMLR 13 (2012), section 2.3 (the witness). Lopez-Paz & Oquab, "Revisiting
classifier two-sample tests", arXiv 1610.06545 (a learned score on rows that it has not seen). Podkopaev & Ramdas,
"Sequential predictive two-sample and independence testing", arXiv 2305.00143 (learning on all that was tested before).
Mann & Whitney, "On a test of whether one of two random variables is stochastically larger than the other", Annals of
Mathematical Statistics 18 (1947) (the distribution of the rank sum).
"""

from __future__ import annotations

import math

import numpy as np

LOOK = 1000
"""The most rows of either sample that are looked at. The cost is bounded by its square."""

BLOCKS = 8
"""The first block is only learned from. More blocks test more rows, but the first of them by a witness that has seen
few: from four to twelve, a simulation shows little difference. Where rows are few, a block has two of them at least,
since the more there are in a block, the smaller its p-value can be."""

_NARROW = 3.0
"""Squared distances are divided by a third of their median. The median itself is best for shifts of the mean alone, and
hardly sees a change of variances or correlations: in many dimensions, all rows are about as far from each other."""

_SMALLEST = -700.0


def rows_to_look_at(rows: int, seed: int) -> np.ndarray:
    """Which rows of a sample are looked at: all, or ``LOOK``, one drawn from each of as many equal stretches.

    A fixed stride would see one class alone in rows that come class by class in turn.

    Parameters
    ----------
    rows : int
        How many there are.
    seed : int
        Not negative.

    Returns
    -------
    numpy.ndarray
        [at most LOOK] int64, increasing.

    Examples
    --------
    >>> rows_to_look_at(3, seed=0)
    array([0, 1, 2])
    >>> looked_at = rows_to_look_at(100_000, seed=0)
    >>> len(looked_at), len(set(looked_at // 100))
    (1000, 1000)
    """
    if rows <= LOOK:
        return np.arange(rows)
    # The ends are whole numbers: the same rows everywhere, whatever the rounding of a machine.
    ends = np.arange(LOOK + 1) * rows // LOOK
    return np.random.default_rng(seed).integers(ends[:-1], ends[1:])


def two_sample_p(reference: np.ndarray, new: np.ndarray, seed: int) -> float:
    """P-value of the hypothesis that two samples are exchangeable.

    Parameters
    ----------
    reference : numpy.ndarray
        [m, d] float32, finite.
    new : numpy.ndarray
        [n, d] float32, finite. Of more than ``LOOK`` rows, `rows_to_look_at` are taken, of either sample.
    seed : int
        Deals the rows into blocks and breaks ties; not negative.

    Returns
    -------
    float
        At most u with probability at most u, for any u, if the rows are exchangeable; with less where blocks have a few
        rows and ranks are coarse. 1.0 where a sample has fewer than two rows: one to learn from, one to test.

    Raises
    ------
    ValueError
        If the samples are not of one width, or hold NaN or infinity.

    Examples
    --------
    >>> draw = np.random.default_rng(0)
    >>> before, after = draw.normal(size=(300, 64)), draw.normal(size=(100, 64))
    >>> two_sample_p(before, after, seed=0) > 0.05, two_sample_p(before, 1.3 * after, seed=0) < 1e-9
    (True, True)
    """
    if reference.ndim != 2 or new.ndim != 2 or reference.shape[1] != new.shape[1]:
        raise ValueError(f"samples must be [m, d] and [n, d], not {list(reference.shape)} and {list(new.shape)}")
    draw = np.random.default_rng(seed)
    samples = [sample[rows_to_look_at(len(sample), seed)] for sample in (reference, new)]
    if min(map(len, samples)) < 2:
        return 1.0
    blocks = _blocks(*map(len, samples))
    # From here on, rows stand in an order that does not tell the samples apart. Ties are broken by it, those too that
    # rounding breaks, which differs with the place of a row in a matrix.
    order = draw.permutation(sum(map(len, samples)))
    block = np.concatenate([draw.permutation(np.arange(len(sample)) % blocks) for sample in samples])[order]
    is_new = (np.arange(len(order)) >= len(samples[0]))[order]
    nearness = _nearness(np.concatenate(samples)[order])
    tails = []
    for number in range(1, blocks):
        known, tested = block < number, block == number
        scores = _witness(nearness[np.ix_(tested, known)], is_new[known])
        tails.append(_rank_p(scores, is_new[tested]))
    return _fisher(tails)


def smallest_p(reference: int, new: int) -> float:
    """The smallest p-value that samples of so many rows can have, whatever the rows.

    Examples
    --------
    >>> smallest_p(1000, 1), f"{smallest_p(1000, 2):.4f}", f"{smallest_p(1000, 6):.0e}"
    (1.0, '0.0020', '7e-09')
    """
    sizes = [min(rows, LOOK) for rows in (reference, new)]
    blocks = _blocks(*sizes)
    if blocks < 2:
        return 1.0
    sizes_of = [[len(range(number, size, blocks)) for size in sizes] for number in range(1, blocks)]
    return _fisher([1 / math.comb(sum(sizes), sizes[1]) for sizes in sizes_of])


def rank_sum_p(smaller: int, larger: int, pairs: int) -> float:
    """Chance that, of two samples in a random order, at most ``pairs`` pairs have the second sample's row first.

    The lower tail of the Mann-Whitney statistic: the ways to deal the places are the coefficients of the Gaussian
    binomial, made here factor by factor. Every factor is divided by what its coefficients sum to, so that they stay
    probabilities; the relative error is below 1e-11, in the far tail too.

    Parameters
    ----------
    smaller, larger : int
        Rows of the two samples, at least one each; the order does not matter.
    pairs : int
        0 to the product of both.

    Examples
    --------
    >>> rank_sum_p(1, 3, 0), round(rank_sum_p(2, 2, 1) * 6, 12), rank_sum_p(2, 3, 6)
    (0.25, 2.0, 1.0)
    """
    smaller, larger = sorted((smaller, larger))
    shares = np.zeros(pairs + 1)
    shares[0] = 1.0
    for i in range(1, smaller + 1):
        # Times 1 - q^(larger + i), over 1 - q^i, which is a running sum of every i-th.
        shares[larger + i :] -= shares[: max(0, pairs + 1 - larger - i)].copy()
        padded = np.append(shares, np.zeros(-len(shares) % i))
        shares = padded.reshape(-1, i).cumsum(axis=0).ravel()[: pairs + 1] * (i / (larger + i))
    return min(1.0, float(shares.sum()))


def _blocks(reference: int, new: int) -> int:
    fewer = min(reference, new)
    return min(BLOCKS, fewer, max(2, fewer // 2))


def _nearness(rows: np.ndarray) -> np.ndarray:
    """[rows, rows] float32: the Gaussian kernel of standardised rows."""
    if not np.isfinite(rows).all():
        raise ValueError("features must be finite")
    spread = rows.std(axis=0, dtype=np.float64)
    spread[np.ptp(rows, axis=0) == 0] = 1.0  # its own deviation is rounding
    scaled = ((rows - rows.mean(axis=0, dtype=np.float64)) / spread).astype(np.float32)
    distances = scaled @ scaled.T
    squares = distances.diagonal().copy()
    distances *= -2
    distances += squares[:, None]
    distances += squares
    scale = _typical(distances[:: math.ceil(len(rows) / 200)])
    return np.exp(np.maximum(distances, 0.0, out=distances) * np.float32(-_NARROW / scale))


def _typical(distances: np.ndarray) -> float:
    """The median of some squared distances; their mean where most rows are the same, and the median is rounding."""
    median, mean = float(np.median(distances)), float(distances.mean())
    return max(median if median > 1e-3 * mean else mean, 0.0) or 1.0


def _witness(nearness: np.ndarray, is_new: np.ndarray) -> np.ndarray:
    """[tested] float32: mean nearness to the known new rows less that to the known reference rows."""
    new = int(is_new.sum())
    return nearness @ np.where(is_new, 1 / new, -1 / (len(is_new) - new)).astype(np.float32)


def _rank_p(scores: np.ndarray, is_new: np.ndarray) -> float:
    """One-sided: do the new rows rank higher? Ties stay in the order of the rows, which is random."""
    ranked = is_new[np.argsort(scores, kind="stable")]
    new_below = np.cumsum(ranked)[~ranked]  # for each reference row, in rising order
    return rank_sum_p(int(ranked.sum()), len(new_below), int(new_below.sum()))


def _fisher(tails: list[float]) -> float:
    """P-value of the product of independent p-values: the tail of an Erlang distribution."""
    total = -sum(math.log(tail) for tail in tails)
    terms = [i * math.log(total) - math.lgamma(i + 1) for i in range(len(tails))] if total > 0 else [0.0]
    return math.exp(min(0.0, max(_SMALLEST, float(np.logaddexp.reduce(terms)) - total)))
