"""Trusted rows: held-out rows of promoted updates, bounded, so that update 1,000 costs what update 10 did."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dripstone.core.examples import Label


def keep_trusted(targets: Sequence[Label | None], cap: int) -> list[int]:
    """Which rows stay: at most ``cap``, as even over the classes as they allow, the newest of each.

    Parameters
    ----------
    targets : sequence of str or int or None
        Labels, oldest row first; None where there are none, and all rows are of one class.
    cap : int
        The most rows kept.

    Returns
    -------
    list of int
        Indices in rising order.

    Examples
    --------
    >>> keep_trusted(["a", "a", "a", "b"], cap=2)
    [2, 3]
    """
    if len(targets) <= cap:
        return list(range(len(targets)))
    by_class: dict[Label | None, list[int]] = {}
    for index, label in enumerate(targets):
        by_class.setdefault(label, []).append(index)
    quota = _even_quotas({label: len(rows) for label, rows in by_class.items()}, cap)
    return sorted(index for label, rows in by_class.items() for index in rows[len(rows) - quota[label] :])


def newest_trusted(targets: np.ndarray, count: int, of_each: int) -> np.ndarray:
    """Which trusted rows are among the newest ``count``, or the newest ``of_each`` of their class, [rows] bool.

    Examples
    --------
    >>> newest_trusted(np.array([0, 0, 0, 1, 1, 1, 1]), count=3, of_each=2).nonzero()[0].tolist()
    [1, 2, 4, 5, 6]
    """
    newest = np.arange(len(targets)) >= len(targets) - count
    for code in np.unique(targets):
        newest[np.flatnonzero(targets == code)[-of_each:]] = True
    return newest


def _even_quotas(sizes: dict[Label | None, int], cap: int) -> dict[Label | None, int]:
    """Water-filling: small classes keep all they have, the others share the rest evenly."""
    quotas: dict[Label | None, int] = {}
    left = cap
    order = sorted(sizes, key=lambda label: (sizes[label], str(label)))
    for position, label in enumerate(order):
        quotas[label] = min(sizes[label], left // (len(order) - position))
        left -= quotas[label]
    return quotas
