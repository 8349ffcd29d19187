"""Class balance: rows of rare labels count more in training, those of common ones less.

References
----------
Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", arXiv 1901.05555, for what full inverse
frequencies do to the rarest classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dripstone.core.examples import Label

LARGEST = 10.0
"""Factor of the rarest label's rows, at most: a label with a single row must not outweigh the rest."""


@dataclass(frozen=True, slots=True)
class Weight:
    """The policy ``weight``: each label pulls alike, whatever its number of rows.

    Examples
    --------
    >>> Weight.parse([]), Weight.parse(["more"])
    (Weight(), None)
    """

    FORMS: ClassVar[tuple[str, ...]] = ("weight",)

    @classmethod
    def parse(cls, words: Sequence[str]) -> Weight | None:
        """The policy from the words after its name; None if they mean nothing."""
        return None if words else cls()

    def __str__(self) -> str:
        return "weight"


def class_factors(targets: Sequence[Label], before: Mapping[Label, int]) -> np.ndarray:
    """What each row's weight is multiplied by, [rows] float64.

    A label with n of the N rows so far, among C labels, gets N / (C n), at most 10: over all rows these factors have
    the mean 1 where none is held back. Factors of earlier rows stay as they were; a label that was rare then and is
    common now has pulled more.

    Parameters
    ----------
    targets : sequence of str or int
        Labels of the rows to learn from.
    before : mapping of label to int
        How many rows of each label were learned before.

    Examples
    --------
    >>> class_factors(["a", "a", "a", "b"], {}).round(2).tolist()
    [0.67, 0.67, 0.67, 2.0]
    """
    counts = Counter(targets) + Counter(before)  # the sum leaves out labels of no row
    even = sum(counts.values()) / max(len(counts), 1)
    return np.array([min(even / counts[target], LARGEST) for target in targets], dtype=np.float64)
