"""Harm: what an update costs on test rows that nothing was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

OVERALL, DOMAIN = 0.5, 2.0
"""Points of accuracy that an update may cost on all test rows, and on the known labels of one domain."""


@dataclass(frozen=True, slots=True, eq=False)
class Knowledge:
    """A version's labels and its scores of the test rows, [rows, labels]."""

    labels: list[str]
    scores: torch.Tensor

    def answers(self, among: list[str] | None = None) -> np.ndarray:
        """The best label of each row, of all or of some; an empty text where there is none."""
        columns = [i for i, label in enumerate(self.labels) if among is None or label in set(among)]
        if not columns:
            return np.full(len(self.scores), "", dtype=object)
        best = self.scores[:, columns].argmax(1).numpy()
        return np.array([self.labels[column] for column in columns], dtype=object)[best]


@dataclass(frozen=True, slots=True)
class Fall:
    """Points lost on all test rows, and on the domain that lost most; negative where accuracy rose."""

    overall: float
    domain: float
    where: str

    @property
    def harmful(self) -> bool:
        return self.overall > OVERALL + 1e-9 or self.domain > DOMAIN + 1e-9


class Exam:
    """The test rows.

    Parameters
    ----------
    targets, domains : sequences of str
        The right label of each row, and its domain.
    """

    def __init__(self, targets: list[str], domains: list[str]) -> None:
        self.targets = np.array(targets, dtype=object)
        self.domains = np.array(domains, dtype=object)

    def accuracy(self, knowledge: Knowledge) -> float:
        """Share of right answers; a label that the version does not know counts as wrong."""
        return float((knowledge.answers() == self.targets).mean())

    def fall(self, before: Knowledge, after: Knowledge) -> Fall:
        """What was lost; by domain both answer among the labels that were known before."""
        if not before.labels or before is after:
            return Fall(0.0, 0.0, "")
        overall = 100 * (self.accuracy(before) - self.accuracy(after))
        known = np.isin(self.targets, before.labels)
        lost = (before.answers() == self.targets).astype(int) - (after.answers(before.labels) == self.targets)
        falls = {
            domain: 100 * float(lost[known & (self.domains == domain)].mean()) for domain in set(self.domains[known])
        }
        where = max(sorted(falls), key=falls.__getitem__, default="")
        return Fall(overall, falls.get(where, 0.0), where)
