"""How good a version is on rows whose answers are known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from dripstone.core.errors import DataError, UsageError
from dripstone.core.examples import Content, Example, Reply, label_of
from dripstone.core.marked import Marked
from dripstone.curate.screen import inputs_reason
from dripstone.gate.slices import Partition, part_rows, slice_means
from dripstone.stream.columns import record_excerpt
from dripstone.train.features import features_of, outputs_of
from dripstone.update.champion import Champion

WANTED: Mapping[str, tuple[tuple[type, ...], str, str]] = {
    "classification": ((str, int), "label", "a string or an integer"),
    "regression": ((float,), "number", "a finite number"),
    "causal_lm": ((Reply, type(None)), "text", "a text, or none for a document"),
    "seq2seq": ((Reply,), "reply", "a text"),
}
"""By task: types of the targets that can be measured by, what they are called, and what to give instead."""


def evaluate(champion: Champion, rows: Sequence[Example]) -> dict[str, Any]:
    """Measure a version; a label that it does not know counts as wrong.

    Returns
    -------
    dict
        ``{"accuracy", "by_slice"}``; of numbers ``{"rmse", "mae", "r2", "by_slice"}``, the latter of the root mean
        square error; of texts ``{"perplexity", "bits_per_byte", "by_slice"}``, the latter of the perplexity, and where
        rows have replies ``exact_match``. A token counts the same whatever text it is in. Where all have replies,
        ``{"exact_match", "perplexity", "by_slice"}``, the latter of the exact match.

    Raises
    ------
    DataError
        If a row has no label, number or text, or an input is not what the model takes.
    UsageError
        If there is nothing to measure, since nothing was learned yet.
    """
    _check_targets(rows, champion.task.kind)
    if not champion.task.labels and champion.task.kind != "classification":
        what = WANTED[champion.task.kind][1]
        raise UsageError(f"the version has learned no {what} yet", remedy="update it with rows first")
    outputs = outputs_for(champion, rows)
    marked = champion.task.mark(outputs, champion.task.encode([row.target for row in rows]))
    parted = [
        part_rows("class", [label_of(row.target) for row in rows]),
        part_rows("slice", [row.slice for row in rows]),
    ]
    if champion.task.numbers:
        return _errors(marked.kept[:, 1], np.array([row.target for row in rows]), parted)
    if champion.task.replies:
        return {
            "exact_match": float(marked.right.mean()) if len(rows) else None,
            "perplexity": _perplexity(outputs.double().numpy()),
            "by_slice": slice_means(marked.right, None, parted),
        }
    if champion.task.texts:
        return _perplexities(outputs.double().numpy(), marked, rows, parted)
    return {
        "accuracy": float(marked.right.mean()) if len(rows) else None,
        "by_slice": slice_means(marked.right, None, parted),
    }


def outputs_for(champion: Champion, rows: Sequence[Example]) -> torch.Tensor:
    """[rows, outputs] of a version, as its task marks them; a row that the model cannot take is named."""
    check_inputs(champion, rows)
    contents = [row.content for row in rows]
    if champion.task.texts:
        _check_texts(champion, rows, contents)
    return outputs_of(champion.model, features_of(champion.model, contents))


def _check_texts(champion: Champion, rows: Sequence[Example], contents: Sequence[Content]) -> None:
    for row, reason in zip(rows, champion.model.preprocess.refusals(contents), strict=True):
        if reason is not None:
            raise _unfit(row, reason)


def check_inputs(champion: Champion, rows: Sequence[Example]) -> None:
    """Refuse rows that the model cannot take.

    Raises
    ------
    DataError
        The first of them is named.
    """
    preprocess = champion.model.preprocess
    for row in rows:
        if reason := inputs_reason(row.inputs, preprocess.kind, preprocess.accepted):
            raise _unfit(row, reason)


def _unfit(row: Example, reason: str) -> DataError:
    return DataError(f"{row.origin}: {reason}", remedy="mend or remove that row", kind="data.value")


def _check_targets(rows: Sequence[Example], kind: str) -> None:
    types, what, remedy = WANTED[kind]
    for row in rows:
        if type(row.target) not in types or (isinstance(row.target, float) and not math.isfinite(row.target)):
            raise DataError(
                f"{row.origin}: {record_excerpt(row.target)} is no {what} to measure by",
                remedy=f"give every row {remedy}",
                kind="data.label",
            )


def _errors(errors: np.ndarray, targets: np.ndarray, parted: Sequence[Partition]) -> dict[str, Any]:
    squares = np.square(errors.astype(np.float64))
    spread = float(np.square(targets - targets.mean()).sum())
    return {
        "rmse": math.sqrt(squares.mean()),
        "mae": float(np.abs(errors).mean()),
        "r2": 1 - float(squares.sum()) / spread if spread else None,
        "by_slice": {name: math.sqrt(mean) for name, mean in slice_means(squares, None, parted).items()},
    }


def _perplexities(
    outputs: np.ndarray, marked: Marked, rows: Sequence[Example], parted: Sequence[Partition]
) -> dict[str, Any]:
    tokens, losses = outputs[:, 0], outputs[:, 1]
    replies = np.array([isinstance(row.target, Reply) for row in rows], dtype=bool)
    texts = [row.target.text if isinstance(row.target, Reply) else str(row.inputs) for row in rows]
    characters = sum(len(text.encode("utf-8", "replace")) for text in texts)
    metrics: dict[str, Any] = {
        "perplexity": _perplexity(outputs),
        "bits_per_byte": float(tokens @ losses) / math.log(2) / max(characters, 1),
        "by_slice": {name: _exp(mean) for name, mean in slice_means(losses, tokens, parted).items()},
    }
    if replies.any():
        metrics["exact_match"] = float(marked.right[replies].mean())
    return metrics


def _perplexity(outputs: np.ndarray) -> float:
    tokens, losses = outputs[:, 0], outputs[:, 1]
    return _exp(float(tokens @ losses) / max(float(tokens.sum()), 1.0))


def _exp(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf
