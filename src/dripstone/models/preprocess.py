"""From rows to batches: each kind of input, with the scaling that belongs to the model and travels with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from dripstone.core.errors import DataError, ModelError
from dripstone.core.examples import Inputs
from dripstone.models.moments import Moments, join_moments, moments_of
from dripstone.models.scaling import columns_off, scale_of
from dripstone.models.tokenizer_json import parse_tokenizer

MASKS = ("[MASK]", "<mask>")
"""How tokenizers write the token for a hidden word."""

PORTION = 4096
"""Rows that are in memory as numbers at a time when they are measured."""

_MAX_DIMENSIONS = 8
_TINY = float(np.finfo(np.float32).tiny)
_RESOLUTION = float(np.finfo(np.float32).eps)


class Text(nn.Module):
    """Texts to token numbers, padded to the longest of the batch.

    Parameters
    ----------
    tokenizer_json : bytes
        A ``tokenizer.json`` as the ``tokenizers`` library writes it; its padding section names the padding token.
    max_length : int
        Longest sequence in tokens, special ones included; what is longer is cut.

    Raises
    ------
    ModelError
        If the bytes are no tokenizer, or ``max_length`` leaves no room for a token.
    UsageError
        If the extra ``text`` is not installed.

    Examples
    --------
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "hello": 2, "you": 3}, unk_token="[UNK]"))
    >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> batch = Text(tokenizer.to_str().encode(), max_length=8).collate(["hello you", "hello"])
    >>> batch["input_ids"].tolist(), batch["attention_mask"].tolist()
    ([[2, 3], [2, 0]], [[1, 1], [1, 0]])
    """

    default_column = "text"
    kind = "text"
    accepted: Sequence[tuple[int, ...]] = ()
    picture = None

    def __init__(self, tokenizer_json: bytes, max_length: int) -> None:
        super().__init__()
        self.tokenizer = _Tokenizer(tokenizer_json, max_length)
        self.mask_token = self.tokenizer.mask_token

    def fit(self, inputs: Sequence[Inputs]) -> None:
        """Nothing to learn."""

    def collate(self, inputs: Sequence[Inputs]) -> dict[str, torch.Tensor]:
        """Rows of text to ``input_ids`` and ``attention_mask``, both [rows, longest] int64.

        A text without any token counts as one padding token, so that every row has something to attend to.
        """
        _check_some(inputs)
        ids, mask = self.tokenizer.encode([_text(row, index) for index, row in enumerate(inputs)])
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


class _Tokenizer:
    """A tokenizer with its padding and truncation set; it never changes again."""

    def __init__(self, tokenizer_json: bytes, max_length: int) -> None:
        tokenizer = parse_tokenizer(tokenizer_json)
        special = tokenizer.num_special_tokens_to_add(False)
        if max_length <= special:
            raise ModelError(
                f"max_length {max_length} leaves no room beside the {special} special tokens",
                remedy=f"set max_length to at least {special + 1}",
            )
        padding = tokenizer.padding or {"pad_id": 0, "pad_token": "[PAD]"}
        tokenizer.enable_truncation(max_length)
        tokenizer.enable_padding(direction="right", pad_id=padding["pad_id"], pad_token=padding["pad_token"])
        self._tokenizer = tokenizer
        self.mask_token = next((token for token in MASKS if tokenizer.token_to_id(token) is not None), None)
        self._pad_id = padding["pad_id"]

    def encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        encodings = self._tokenizer.encode_batch_fast(texts)
        ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        if ids.shape[1] == 0:
            ids = np.full((len(ids), 1), self._pad_id, dtype=np.int64)
            mask = np.ones_like(ids)
        mask[:, 0] = 1
        return ids, mask

    def __deepcopy__(self, memo: dict[int, Any]) -> _Tokenizer:
        # A copy would parse the vocabulary again, which costs a fork more than all the rest of it.
        return self


def _text(row: Inputs, index: int) -> str:
    if not isinstance(row, str):
        raise DataError(
            f"row {index} is {_describe(row)}, the model takes text", remedy="send a string", kind="data.kind"
        )
    return row.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no text to the tokenizer


class Vector(nn.Module):
    """Arrays of one size to standardised rows.

    A column is divided by its standard deviation where enough rows speak for that. So columns in different units count
    alike; one that hardly moved is divided by up to the median deviation of the columns, lest it be blown up. The first
    stage sets the scale; where later rows show it to be badly off, and nothing that has learned lies above it, an
    update makes a version with a new one (``docs/design/017-scaling.md``).

    Parameters
    ----------
    size : int
        Values a row.

    Attributes
    ----------
    shift, scale : torch.Tensor
        [size] float32 buffers, set by the first ``fit``, and by ``rescale``.
    fitted : torch.Tensor
        [] bool buffer.

    Examples
    --------
    >>> rows = [np.array([0.0, 10.0]), np.array([2.0, 30.0])] * 50
    >>> vector = Vector(2)
    >>> vector.fit(rows)
    >>> vector.collate(rows[:2])
    tensor([[-1., -1.],
            [ 1.,  1.]])
    """

    default_column = "inputs"
    kind = "array"
    picture: tuple[int, ...] | None = None
    mask_token = None
    shift: torch.Tensor
    scale: torch.Tensor
    fitted: torch.Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ModelError(f"a row cannot have {size} values", remedy="set the number of inputs to at least 1")
        self.size = size
        self.accepted: Sequence[tuple[int, ...]] = [(size,)]
        self.register_buffer("shift", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("fitted", torch.tensor(False))

    def fit(self, inputs: Sequence[Inputs]) -> None:
        """Set shift and scale from the first stage's rows; later calls do nothing."""
        if not self.fitted.item() and inputs:
            self.rescale(self.measure(inputs))

    def measure(self, inputs: Sequence[Inputs]) -> Moments:
        """The moments of the columns of rows, as ``collate`` takes them; those of no row for none."""
        moments = moments_of(np.empty((0, self.size)))
        for start in range(0, len(inputs), PORTION):
            moments = join_moments(moments, moments_of(_stack(inputs[start : start + PORTION], self.accepted)))
        return moments

    def rescale(self, moments: Moments) -> None:
        """Set shift and scale by rows that were measured, whatever they were before.

        Examples
        --------
        >>> vector = Vector(1)
        >>> vector.rescale(vector.measure([np.array([2.0]), np.array([4.0])]))
        >>> vector.shift.tolist(), vector.scale.tolist()
        ([3.0], [1.0])
        """
        self.shift.copy_(torch.from_numpy(moments.mean))
        self.scale.copy_(torch.from_numpy(scale_of(moments)))
        self.fitted.fill_(True)

    def badly_scaled(self, moments: Moments) -> int:
        """How many columns of rows that were measured the scale does not fit."""
        shift, scale = (buffer.double().cpu().numpy() for buffer in (self.shift, self.scale))
        return int(columns_off(shift, scale, moments).sum())

    def collate(self, inputs: Sequence[Inputs]) -> torch.Tensor:
        """[rows, size] float32."""
        rows = torch.from_numpy(_stack(inputs, self.accepted)).to(self.shift.device)
        return (rows - self.shift) / self.scale


class Image(nn.Module):
    """Pictures of one shape to [rows, channels, height, width], standardised by one mean and deviation.

    They stay those of the first stage: the layers above have learned from pictures in that scale.

    Parameters
    ----------
    shape : sequence of int
        (channels, height, width), or (height, width) for one channel. Rows may come in that shape or flat, and
        without the channel where there is one only.

    Attributes
    ----------
    shift, scale : torch.Tensor
        [] float32 buffers, set by the first ``fit``.
    fitted : torch.Tensor
        [] bool buffer.

    Examples
    --------
    >>> Image((8, 8)).collate([np.zeros((8, 8)), np.zeros(64)]).shape
    torch.Size([2, 1, 8, 8])
    """

    default_column = "inputs"
    kind = "array"
    picture: tuple[int, ...] | None = None
    mask_token = None
    shift: torch.Tensor
    scale: torch.Tensor
    fitted: torch.Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise ModelError(
                f"{tuple(shape)} is no shape of a picture", remedy="give (height, width) or (channels, height, width)"
            )
        self.shape: tuple[int, ...] = (1, *shape) if len(shape) == 2 else tuple(shape)
        self.picture = self.shape
        self.accepted = [self.shape, (math.prod(self.shape),)] + ([self.shape[1:]] if self.shape[0] == 1 else [])
        self.register_buffer("shift", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("fitted", torch.tensor(False))

    def fit(self, inputs: Sequence[Inputs]) -> None:
        """Set shift and scale from the first stage's rows; once set, they stay."""
        if self.fitted.item() or not inputs:
            return
        values = _stack(inputs, self.accepted, self.shape).astype(np.float64)
        mean, deviation = float(values.mean()), float(values.std())
        self.shift.fill_(mean)
        self.scale.fill_(deviation if deviation > _RESOLUTION * abs(mean) + _TINY else 1.0)
        self.fitted.fill_(True)

    def collate(self, inputs: Sequence[Inputs]) -> torch.Tensor:
        """[rows, channels, height, width] float32."""
        values = torch.from_numpy(_stack(inputs, self.accepted, self.shape)).to(self.shift.device)
        return (values - self.shift) / self.scale


class Stack(nn.Module):
    """Arrays of one shape, stacked as they are: for a module that brings no preprocessing.

    Attributes
    ----------
    shape : torch.Tensor
        [8] int64 buffer: the shape of the first rows that it was fitted to, filled up with -1.

    Examples
    --------
    >>> stack = Stack()
    >>> stack.fit([np.zeros((2, 3))])
    >>> stack.accepted, stack.collate([np.zeros((2, 3)), np.ones((2, 3))]).shape
    ([(2, 3)], torch.Size([2, 2, 3]))
    """

    default_column = "inputs"
    kind = "array"
    picture: tuple[int, ...] | None = None
    mask_token = None
    shape: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shape", torch.full((_MAX_DIMENSIONS,), -1, dtype=torch.int64))

    @property
    def accepted(self) -> list[tuple[int, ...]]:
        """The shape that rows have to have; none before the first ``fit``."""
        sizes = [size for size in self.shape.tolist() if size >= 0]
        return [tuple(sizes)] if sizes else []

    def fit(self, inputs: Sequence[Inputs]) -> None:
        """Remember the shape of the first stage's rows; once set, it stays.

        Raises
        ------
        DataError
            If they have more than 8 dimensions.
        """
        if self.accepted or not inputs or isinstance(inputs[0], str):
            return
        sizes = inputs[0].shape
        if len(sizes) > _MAX_DIMENSIONS:
            raise DataError(
                f"rows have {len(sizes)} dimensions", remedy=f"send at most {_MAX_DIMENSIONS}", kind="data.shape"
            )
        self.shape[: len(sizes)] = torch.tensor(sizes)

    def collate(self, inputs: Sequence[Inputs]) -> torch.Tensor:
        """[rows, *shape] float32."""
        _check_some(inputs)
        first = inputs[0]
        expected = self.accepted or ([first.shape] if isinstance(first, np.ndarray) else [])
        return torch.from_numpy(_stack(inputs, expected))


def _stack(
    inputs: Sequence[Inputs], accepted: Sequence[tuple[int, ...]], shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """Rows in one of the accepted shapes as [rows, *shape] float32; ``shape`` is the first of them unless told."""
    _check_some(inputs)
    rows = []
    for index, row in enumerate(inputs):
        if not isinstance(row, np.ndarray) or row.dtype.kind not in "fiub":
            raise DataError(
                f"row {index} is {_describe(row)}, the model takes an array of numbers",
                remedy="send a list of numbers",
                kind="data.kind",
            )
        if row.shape not in accepted:
            wanted = " or ".join(str(tuple(one)) for one in accepted)
            raise DataError(
                f"row {index} has shape {row.shape}, the model takes {wanted}",
                remedy="send rows of that shape",
                kind="data.shape",
            )
        rows.append(row.reshape(shape or row.shape))
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, which is reported below
        values = np.stack(rows).astype(np.float32)
    _check_finite(values)
    return values


def _check_some(inputs: Sequence[Inputs]) -> None:
    if not len(inputs):
        raise DataError("there are no rows", remedy="send at least one", kind="data.empty")


def _check_finite(values: np.ndarray) -> None:
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise DataError(
            f"row {int(np.argmin(finite))} holds a number that is not finite",
            remedy="fill or drop such values before sending",
            kind="data.not_finite",
        )


def _describe(row: object) -> str:
    if isinstance(row, str):
        return "a text"
    if isinstance(row, np.ndarray):
        return f"an array of {row.dtype} of shape {row.shape}"
    return f"of type {type(row).__name__}"
