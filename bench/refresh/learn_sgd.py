"""scikit-learn's SGDClassifier on frozen features: the cheapest thing that learns on without a memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.refresh.data import Stage, Stream
from dripstone.models.text import text_classifier
from dripstone.train.features import features_of


class PartialFit:
    """``partial_fit`` over the rows of each stage; a pass is a call.

    Parameters
    ----------
    encoder : str
        Folder of the encoder, which stays as it is.
    stream : Stream
        For the number of classes.
    rate, epochs, seed
        Constant learning rate, passes a stage, order of the rows.
    """

    def __init__(self, encoder: str, stream: Stream, rate: float, epochs: int, seed: int) -> None:
        from sklearn.linear_model import SGDClassifier

        self._model = text_classifier(encoder=encoder, random_features=1)
        self._layer = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=rate, random_state=seed)
        self._classes = np.arange(len(stream.labels))
        self._epochs = epochs
        self._draw = np.random.default_rng(seed)

    def learn(self, stage: Stage, known: int) -> tuple[int, str]:
        features = features_of(self._model, stage.learned.texts).numpy()
        for _ in range(self._epochs):
            order = self._draw.permutation(len(features))
            self._layer.partial_fit(features[order], stage.learned.targets[order], classes=self._classes)
        return self._layer.coef_.nbytes + self._layer.intercept_.nbytes, ""

    def answer(self, texts: Sequence[str], known: int) -> np.ndarray:
        scores = self._layer.decision_function(features_of(self._model, texts).numpy())
        return scores[:, :known].argmax(axis=1)
