"""scikit-learn's handwritten digits, two classes a stage."""

from __future__ import annotations

import numpy as np

from dripstone.core.errors import UsageError
from dripstone.models.perceptron import mlp
from dripstone.view.demo.stream import Row, Stage, Stream


def digits_stream(seed: int = 0) -> Stream:
    """Five stages of two digits each, in the order of the digits, then real pictures under shuffled labels.

    Parameters
    ----------
    seed : int
        Of the split: 20 % of the 1,797 pictures are for measuring, 8 % for the poisoned batch.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError:
        raise UsageError("the digits come with scikit-learn", remedy="pip install 'dripstone[demo]'") from None
    pictures, digits = load_digits(return_X_y=True)
    rest_x, test_x, rest_y, test_y = train_test_split(
        pictures, digits, test_size=0.2, random_state=seed, stratify=digits
    )
    train_x, poison_x, train_y, poison_y = train_test_split(
        rest_x, rest_y, test_size=0.1, random_state=seed, stratify=rest_y
    )
    stages = []
    for first in range(0, 10, 2):
        chosen = (train_y == first) | (train_y == first + 1)
        known = frozenset(range(first + 2))
        stages.append(Stage(f"digits {first} and {first + 1}", _rows(train_x[chosen], train_y[chosen]), known))
    shuffled = np.random.default_rng(seed).permutation(poison_y)
    return Stream("digits", lambda: mlp(inputs=64, seed=seed), stages, _rows(poison_x, shuffled), _rows(test_x, test_y))


def _rows(pictures: np.ndarray, digits: np.ndarray) -> list[Row]:
    return [{"input": picture, "label": int(digit)} for picture, digit in zip(pictures, digits, strict=True)]
