"""CLINC150: questions to an assistant, fifteen intents a stage, one domain after another.

Larson et al., "An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction", EMNLP 2019 (CC BY 3.0).
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from dripstone.core.errors import DataError
from dripstone.models.text import text_classifier
from dripstone.view.demo.stream import Row, Stage, Stream

MAX_FILE_BYTES = 64 * 2**20

T = TypeVar("T")
Domains = dict[str, list[str]]


class Splits(msgspec.Struct, frozen=True):
    """``data_full.json``: pairs of text and intent. Its out-of-scope questions are passed over."""

    train: list[tuple[str, str]]
    val: list[tuple[str, str]]
    test: list[tuple[str, str]]


def text_stream(encoder: str, data: Path, seed: int = 0) -> Stream:
    """Ten stages of fifteen intents, in the order of ``domains.json``; the validation rows, shuffled, are the poison.

    Parameters
    ----------
    encoder : str
        Folder or hub id of a Hugging Face encoder.
    data : pathlib.Path
        Folder with ``data_full.json`` and ``domains.json``.
    seed : int
        Of the shuffled labels and of the model.
    """
    splits, domains = _read(data / "data_full.json", Splits), _read(data / "domains.json", Domains)
    stages = []
    known: set[str] = set()
    for domain, intents in domains.items():
        known |= set(intents)
        stages.append(Stage(domain, _rows(splits.train, set(intents)), frozenset(known)))
    poison = _rows(splits.val, known)
    shuffled = np.random.default_rng(seed).permutation(len(poison))
    mislabelled = [
        {"input": row["input"], "label": poison[i]["label"]} for row, i in zip(poison, shuffled, strict=True)
    ]
    return Stream(
        "clinc150",
        lambda: text_classifier(encoder=encoder, seed=seed),
        stages,
        mislabelled,
        _rows(splits.test, known),
    )


def _read(path: Path, kind: type[T]) -> T:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}", remedy="name the folder of CLINC150 with --data"
        ) from None
    if len(content) > MAX_FILE_BYTES:
        raise DataError(f"{path} is larger than 64 MiB", remedy="name the folder of CLINC150 with --data")
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        raise DataError(
            f"{path} is not CLINC150's: {error}", remedy="name the folder of CLINC150 with --data"
        ) from None


def _rows(pairs: list[tuple[str, str]], intents: set[str]) -> list[Row]:
    return [{"input": text, "label": intent} for text, intent in pairs if intent in intents]
