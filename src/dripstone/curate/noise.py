"""Wrong labels: rows whose label a model of all the other rows does not believe.

Confident learning compares each row's label with what a model says that has not seen it. Its own rule takes every
confident contradiction for a wrong label, the model's own mistakes included: where labels have few rows, that is a
quarter of an honest batch. Here the two are told apart. A row's label is either drawn from what the model says, or,
with a share that is the same for all rows, from all labels, whatever the input; the share is the one under which the
labels of the batch are most likely. Honest labels are likely enough without it, so that it comes out as zero. A label
that was drawn whatever the input may be right nevertheless, as probably as the model says.

References
----------
Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset Labels", arXiv 1911.00068 (out-of-fold
predictions, and thresholds by class). Angluin and Laird, "Learning from Noisy Examples", 1988 (the noise).
``docs/design/014-wrong-labels.md`` has what was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

SHARES = np.array([0, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6])
"""Of wrong labels, among which the likeliest is taken."""

SCALES = np.logspace(0, 1.3, 10)
"""That turn scores into logits, likewise, in units of the one at which a score of 1 among zeros means `CERTAIN`."""

CERTAIN = 0.99
"""A flatter model would say of itself that it is wrong as often as labels are, and no label would be to blame."""

FEWEST_ROWS = 20

REASON = "the label is probably wrong: a model of the other rows says otherwise"


@dataclass(frozen=True, slots=True)
class Noise:
    """The policy ``noise``: rows whose label is probably wrong are left out.

    With ``weigh`` all stay, and each weighs what the probability of its label is.

    Examples
    --------
    >>> Noise.parse([]), str(Noise.parse(["weigh"]))
    (Noise(weigh=False), 'noise:weigh')
    """

    FORMS: ClassVar[tuple[str, ...]] = ("noise", "noise:weigh")

    weigh: bool = False

    @classmethod
    def parse(cls, words: Sequence[str]) -> Noise | None:
        """The policy from the words after its name; None if they mean nothing."""
        return cls(bool(words)) if list(words) in ([], ["weigh"]) else None

    def __str__(self) -> str:
        return "noise:weigh" if self.weigh else "noise"


def wrong_label_probabilities(scores: Iterable[np.ndarray], targets: np.ndarray) -> np.ndarray:
    """How probable it is that each row's label is wrong, [rows] float64.

    Parameters
    ----------
    scores : iterable of numpy.ndarray
        [rows, classes] each, of models that have not seen the row; any scale, which is fitted. The model under which
        the labels are likeliest counts.
    targets : numpy.ndarray
        [rows] int64, the labels as they came.

    Returns
    -------
    numpy.ndarray
        Zeros for fewer than 20 rows, or a single class: nothing can be estimated then.

    Examples
    --------
    >>> targets = np.arange(100) % 2
    >>> scores = np.eye(2)[targets]
    >>> targets[3] = 0
    >>> wrong_label_probabilities([scores], targets).round(1).nonzero()
    (array([3]),)
    """
    probabilities = np.zeros(len(targets))
    if len(targets) < FEWEST_ROWS or len(np.unique(targets)) < 2:
        return probabilities
    share_of_label = np.bincount(targets) / len(targets)
    by_chance = share_of_label[targets]
    best = float(np.log(by_chance).sum())  # a model that explains labels no better than chance has nothing to say
    for one in scores:
        unit = np.log(CERTAIN / (1 - CERTAIN) * (one.shape[1] - 1))
        for scale in SCALES:
            by_model = _softmax_of(unit * scale * one, targets)
            mixed = (np.outer(1 - SHARES, by_model) + np.outer(SHARES, by_chance)).clip(min=1e-300)
            likelihoods = np.log(mixed).sum(axis=1)
            place = int(likelihoods.argmax())
            if likelihoods[place] > best:
                best, probabilities = likelihoods[place], SHARES[place] * by_chance * (1 - by_model) / mixed[place]
    return probabilities


def _softmax_of(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The probability of each row's target."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted[np.arange(len(targets)), targets] / shifted.sum(axis=1)
