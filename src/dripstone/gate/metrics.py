"""The metric that the gate judges by: a score a row from 0 (worst) to 1 (perfect), so that a gain is a difference.

A loss without a bound is clipped, since one row must not outweigh all others; where it is clipped is the scale on which
``gate.margin`` counts.
"""

from __future__ import annotations

import numpy as np

from dripstone.core.errors import ModelError

TOKEN_LOSS = "token_loss"

LOG_LOSS_CLIP = 5.0
"""Nats. A point of the metric (0.01) is 0.05 nats; a row whose label gets less than 0.7 % is as bad as any."""

TOKEN_LOSS_CLIP = 10.0
"""The same of the mean loss of a text's tokens, of which there are many: guessing one of 4,096 costs 8.3 nats."""

TOKEN_GAIN_CLIP = 1.0
"""Nats by which a text counts as better or worse at most. Versions of a language model differ by hundredths of a nat on
what both know: on the scale of the losses themselves no number of texts at hand would show it. A point of the margin is
0.01 nats, 1 % of the perplexity."""

_ROUNDING = 1e-6


def row_scores(metric: str, right: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Scores of rows: whole numbers for ``accuracy``, real ones for the others.

    ``log_loss`` and ``squared_error`` are one: the squared error of a number is the log-loss of its likelihood relative
    to the mode. ``token_loss`` is the mean log-loss of a text's tokens.

    Parameters
    ----------
    metric : str
        ``"accuracy"``, ``"log_loss"``, ``"squared_error"`` or ``"token_loss"``.
    right : numpy.ndarray
        [rows] bool: the answer is the target.
    probability : numpy.ndarray
        [rows] probability that the version gives to the target, the likelihood of a number, or of a text the geometric
        mean of its tokens' probabilities.

    Raises
    ------
    ModelError
        If a probability is none.

    Examples
    --------
    >>> row_scores("accuracy", np.array([True, False]), np.array([0.9, 0.1]))
    array([1, 0], dtype=int8)
    >>> row_scores("log_loss", np.array([True, False]), np.array([1.0, 0.0]))
    array([1., 0.])
    """
    if metric == "accuracy":
        return right.astype(np.int8)
    if len(probability) and not (probability.min() >= 0 and probability.max() <= 1 + _ROUNDING):  # NaN fails as well
        raise _out_of_bounds("a probability", float(probability[~((probability >= 0) & (probability <= 1))][0]))
    with np.errstate(divide="ignore"):
        loss = -np.log(np.minimum(probability.astype(np.float64), 1.0))
    clip = TOKEN_LOSS_CLIP if metric == TOKEN_LOSS else LOG_LOSS_CLIP
    return 1.0 - np.minimum(loss, clip) / clip


def row_gains(metric: str, mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """By how much each row's score is higher than another version's, -1 to 1.

    Parameters
    ----------
    metric : str
        As for `row_scores`.
    mine, theirs : numpy.ndarray
        [rows] scores.

    Examples
    --------
    >>> higher, lower = np.array([0.75]), np.array([0.5])
    >>> row_gains("log_loss", higher, lower), row_gains("token_loss", higher, lower)
    (array([0.25]), array([1.]))
    """
    gains = mine - theirs
    return gains if metric != TOKEN_LOSS else np.clip(gains * (TOKEN_LOSS_CLIP / TOKEN_GAIN_CLIP), -1.0, 1.0)


def _out_of_bounds(what: str, value: float) -> ModelError:
    return ModelError(
        f"{what} is {value}, so that the gate has nothing to compare",
        remedy="a lower learning rate may help, or another selection",
        kind="model.metric",
    )
