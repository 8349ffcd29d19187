"""scikit-learn's online learners, ``partial_fit`` row by row, and its logistic regression for a model that stays."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.drift.prequential import Inputs

WORDS = 2**16
"""Buckets of hashed words for a linear model."""

FEW_WORDS = 2**11
"""Buckets for a network, whose first layer has a hundred weights for each, all of which every step moves."""

MOST = 5.0
"""Standard deviations from the mean to which a value is cut: a pixel that was empty so far has next to none."""


class Standardised:
    """Columns less their mean, by their deviation, both over the rows learned so far, added up in float64.

    Examples
    --------
    >>> scaled = Standardised()
    >>> scaled.learn(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> scaled(np.array([[4.0, 6.0]])).tolist()
    [[2.0, 1.0]]
    """

    def __init__(self) -> None:
        self._rows = 0
        self._total: np.ndarray | float = 0.0
        self._squares: np.ndarray | float = 0.0

    def learn(self, inputs: Inputs) -> None:
        """Take rows into the statistics."""
        values = np.asarray(inputs, dtype=np.float64)
        self._rows += len(values)
        self._total = self._total + values.sum(axis=0)
        self._squares = self._squares + (values**2).sum(axis=0)

    def __call__(self, inputs: Inputs) -> np.ndarray:
        """[rows, columns] float64; a column that has not varied yet is only centred."""
        mean = self._total / self._rows
        deviation = np.sqrt(np.maximum(self._squares / self._rows - mean**2, 0))
        unit = np.where(deviation > 1e-6 * np.maximum(np.abs(mean), 1), deviation, 1)
        return np.clip((np.asarray(inputs, dtype=np.float64) - mean) / unit, -MOST, MOST)


class Hashed:
    """Words of texts, hashed; there is nothing to learn."""

    def __init__(self, buckets: int) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer

        self._vectorizer = HashingVectorizer(n_features=buckets)

    def learn(self, inputs: Inputs) -> None:
        """Nothing."""

    def __call__(self, inputs: Inputs) -> Any:
        """[rows, buckets], sparse."""
        return self._vectorizer.transform(inputs)


class PartialFit:
    """An estimator with ``partial_fit``, one row at a time, also those of the warm-up.

    Parameters
    ----------
    estimator : SGDClassifier or MLPClassifier
        Not fitted yet.
    features : Standardised or Hashed
        What it sees of a row.
    classes : int
        How many there are; it has to be told.
    """

    every = 1

    def __init__(self, estimator: Any, features: Standardised | Hashed, classes: int) -> None:
        import sklearn

        # What is checked again at every row is most of the time otherwise.
        sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
        self._estimator = estimator
        self._features = features
        self._classes = np.arange(classes)

    def learn(self, inputs: Inputs, targets: np.ndarray) -> None:
        """A step a row."""
        for row in range(len(targets)):
            one = inputs[row : row + 1]
            self._features.learn(one)
            self._estimator.partial_fit(self._features(one), targets[row : row + 1], classes=self._classes)

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Its best class."""
        return self._estimator.predict(self._features(inputs))


class Regression:
    """Logistic regression on standardised columns, fitted anew on whatever it is given."""

    def __init__(self) -> None:
        from sklearn.linear_model import LogisticRegression

        self._features = Standardised()
        self._estimator = LogisticRegression(max_iter=1000)

    def learn(self, inputs: Inputs, targets: np.ndarray) -> None:
        """Fit."""
        self._features.learn(inputs)
        self._estimator.fit(self._features(inputs), targets)

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Its best class."""
        return self._estimator.predict(self._features(inputs))


def sgd(seed: int, **settings: Any) -> Any:
    """A linear model with the logistic loss."""
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(loss="log_loss", random_state=seed, **settings)


def network(seed: int) -> Any:
    """A network with a hidden layer of a hundred, and Adam."""
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(random_state=seed)
