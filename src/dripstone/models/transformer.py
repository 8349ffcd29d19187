"""A small decoder of tokens: rotary positions, RMSNorm and SwiGLU, several documents packed into a row."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from dripstone.core.errors import DataError, ModelError, UsageError
from dripstone.models.packing import seen_by

_THETA = 10000.0
_EPSILON = 1e-5
DEVIATION = 0.02
"""Of an initial weight."""

RESIDUAL_OUTPUTS = ("attention.output.weight", "feed.down.weight")
"""What a block adds to the sum comes out of these, by how their names end."""


class Cache:
    """Keys and values of the tokens that a decoder has read, so that the next ones need not read them again.

    Made by `Decoder.start`; each ``decoder(batch, cache)`` adds to it.

    Parameters
    ----------
    rows, depth : int
        Rows of every batch to come, and blocks of the decoder.
    device : torch.device
        Where the decoder is.

    Attributes
    ----------
    segments : torch.Tensor
        [rows, tokens] int64 of the tokens read so far; negative is padding.
    blocks : list of BlockCache
        One a block.

    Examples
    --------
    >>> decoder = Decoder(vocabulary=10, width=8, depth=1, heads=2, hidden=16, context=4)
    >>> cache = decoder.start(rows=2)
    >>> padded = {"tokens": torch.tensor([[0, 5], [6, 7]]), "segments": torch.tensor([[-1, 0], [0, 0]])}
    >>> decoder(padded, cache).shape
    torch.Size([2, 2, 8])
    >>> cache.select(torch.tensor([1]))
    >>> decoder({"tokens": torch.tensor([[8]]), "segments": torch.tensor([[0]])}, cache).shape
    torch.Size([1, 1, 8])
    >>> cache.segments.tolist()
    [[0, 0, 0]]
    """

    def __init__(self, rows: int, depth: int, device: torch.device) -> None:
        self.segments = torch.zeros(rows, 0, dtype=torch.int64, device=device)
        self.blocks = [BlockCache() for _ in range(depth)]

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may come more than once.

        Parameters
        ----------
        rows : torch.Tensor
            [new rows] int64.
        """
        rows = rows.to(self.segments.device)
        self.segments = self.segments[rows]
        for block in self.blocks:
            block.select(rows)


class BlockCache:
    """Keys and values of one block, [rows, heads, tokens, head size] each; None before the first tokens."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of further tokens; returns those of all."""
        if self.keys is not None and self.values is not None:
            keys, values = torch.cat([self.keys, keys], dim=2), torch.cat([self.values, values], dim=2)
        self.keys, self.values = keys, values
        return keys, values

    def select(self, rows: Tensor) -> None:
        """Keep these rows, [new rows] int64."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]


class Decoder(nn.Module):
    """Blocks of causal self-attention and a gated feed-forward layer, without an output layer.

    Each block adds to its input twice: what attention makes of its norm, and what the feed-forward layer makes of that
    sum's norm. There are no biases and no dropout. The initial weights come from torch's global generator.

    Parameters
    ----------
    vocabulary : int
        Number of tokens.
    width : int
        Features a token.
    depth : int
        Number of blocks.
    heads : int
        Heads of each attention; ``width / heads`` has to be an even number.
    hidden : int
        Width inside the feed-forward layers.
    context : int
        Most tokens of a document.

    Attributes
    ----------
    embedding : torch.nn.Embedding
        Its weight is [vocabulary, width]; an output layer may be tied to it.
    blocks : torch.nn.ModuleList
        ``Block`` each.
    norm : torch.nn.RMSNorm
        The last one.
    appended : tuple of int
        Blocks, and hidden units of each feed-forward layer, that came last, as the model grew; ``newest`` names them.

    Raises
    ------
    ModelError
        If a size is below 1 or the heads do not fit the width.

    References
    ----------
    Touvron et al., "LLaMA", arXiv 2302.13971, section 2.2. Su et al., "RoFormer", arXiv 2104.09864 (rotary positions).
    Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202 (SwiGLU).

    Examples
    --------
    >>> decoder = Decoder(vocabulary=10, width=8, depth=2, heads=2, hidden=16, context=4)
    >>> two_documents = {"tokens": torch.tensor([[5, 6, 7, 0]]), "segments": torch.tensor([[0, 0, 1, -1]])}
    >>> decoder(two_documents).shape
    torch.Size([1, 4, 8])
    """

    def __init__(self, vocabulary: int, width: int, depth: int, heads: int, hidden: int, context: int) -> None:
        super().__init__()
        sizes = {"vocabulary": vocabulary, "width": width, "depth": depth, "heads": heads, "hidden": hidden}
        _check_sizes({**sizes, "context": context})
        self.vocabulary = vocabulary
        self.width = width
        self.context = context
        self.head_size = width // heads
        self.hidden = hidden
        self.appended = (0, 0)
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(depth))
        self.norm = nn.RMSNorm(width, eps=_EPSILON)
        self._initialise()

    def _initialise(self) -> None:
        # Each block adds to the sum twice: scaled like this, the sum's variance does not grow with the depth.
        residual = DEVIATION / math.sqrt(2 * len(self.blocks))
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=residual if name.endswith(RESIDUAL_OUTPUTS) else DEVIATION)

    def newest(self) -> dict[str, tuple[int, int]]:
        """What was appended last: of each parameter that has any of it, in which dimension, and the first new index.

        Examples
        --------
        >>> decoder = Decoder(vocabulary=10, width=8, depth=2, heads=2, hidden=16, context=4)
        >>> decoder.newest()
        {}
        >>> decoder.appended = (1, 4)
        >>> decoder.newest()["blocks.0.feed.down.weight"], decoder.newest()["blocks.1.feed.down.weight"]
        ((1, 12), (0, 0))
        """
        blocks, units = self.appended
        first = len(self.blocks) - blocks
        parts = {}
        for name, _ in self.named_parameters():
            if name.startswith("blocks."):
                if int(name.split(".")[1]) >= first:
                    parts[name] = (0, 0)
                elif units and ".feed." in name:
                    parts[name] = (int(name.endswith("down.weight")), self.hidden - units)
        return parts

    def start(self, rows: int) -> Cache:
        """An empty cache for batches of so many rows."""
        return Cache(rows, len(self.blocks), self.embedding.weight.device)

    def forward(self, batch: dict[str, Tensor], cache: Cache | None = None) -> Tensor:
        """The features of each token, which depend on it and on the tokens of its document before it.

        Parameters
        ----------
        batch : dict of str to torch.Tensor
            ``tokens`` and ``segments``, both [rows, tokens] int64. Tokens of a row with the same segment are one
            document, which answers the same wherever it stands. A negative segment is padding: no document sees
            it, and its own features are finite but mean nothing.
        cache : Cache, optional
            What stands before these tokens in each row. These are added to it. Rows of different lengths are padded on
            the left, so that they go on together.

        Returns
        -------
        torch.Tensor
            [rows, tokens, width] float32, after the last norm.

        Raises
        ------
        DataError
            If a token is not in the vocabulary, or ``segments`` has another shape than ``tokens``.
        ModelError
            If a document is longer than the context.
        UsageError
            If the cache is for another number of rows.
        """
        tokens, segments = batch["tokens"], batch["segments"]
        _check_shapes(tokens, segments, cache)
        known = segments if cache is None else torch.cat([cache.segments, segments], dim=1)
        outside = (tokens < 0) | (tokens >= self.vocabulary)
        # Both answers in one copy from the device.
        has_outside, plain = torch.stack([outside.any(), _is_plain(known)]).tolist()
        if has_outside:
            raise _outside(int(tokens[outside][0]), self.vocabulary)
        positions, mask = _layout(known, tokens.shape[1], plain)
        if known.shape[1] > self.context:  # padding does not count
            _check_length(known, positions, self.context)
        if cache is not None:
            cache.segments = known
        rotary = _rotary(positions, self.head_size)
        x = self.embedding(tokens)
        for index, block in enumerate(self.blocks):
            x = block(x, rotary, mask, cache.blocks[index] if cache is not None else None)
        return self.norm(x).float()


class Block(nn.Module):
    """One of the decoder's blocks: ``x + attention(norm(x))``, and ``x + feed(norm(x))`` of that.

    Parameters
    ----------
    width, heads, hidden : int
        As in `Decoder`.

    Examples
    --------
    >>> block = Block(width=8, heads=2, hidden=16)
    >>> block(torch.ones(3, 5, 8), _rotary(torch.arange(5)[None], 4), mask=None).shape
    torch.Size([3, 5, 8])
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(width, eps=_EPSILON)
        self.attention = Attention(width, heads)
        self.feed_norm = nn.RMSNorm(width, eps=_EPSILON)
        self.feed = Feed(width, hidden)

    def forward(
        self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None, cache: BlockCache | None = None
    ) -> Tensor:
        """[rows, tokens, width] -> [rows, tokens, width]; ``rotary`` and ``mask`` are the same for all blocks."""
        x = x + self.attention(self.attention_norm(x), rotary, mask, cache)
        return x + self.feed(self.feed_norm(x))


class Attention(nn.Module):
    """Causal self-attention whose queries and keys are turned by their positions.

    Parameters
    ----------
    width, heads : int
        As in `Decoder`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None, cache: BlockCache | None
    ) -> Tensor:
        """[rows, tokens, width] -> [rows, tokens, width].

        ``mask`` is [rows, 1, tokens, tokens known] bool, True where a token may look; None for all before it.
        """
        queries, keys, values = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        queries, keys = _turn(queries, rotary), _turn(keys, rotary)
        if cache is not None:
            keys, values = cache.append(keys, values)
        mixed = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=mask is None)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """[rows, tokens, width] -> [rows, heads, tokens, head size]."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Feed(nn.Module):
    """The gated feed-forward layer: ``down(silu(gate(x)) * up(x))``.

    Parameters
    ----------
    width, hidden : int
        As in `Decoder`.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, tokens, width] -> [rows, tokens, width]."""
        return self.down(functional.silu(self.gate(x)) * self.up(x))


def _is_plain(segments: Tensor) -> Tensor:
    """Whether each row is one document, and padding at most behind it: [] bool.

    A mask that only hides the tokens to come is enough then, which has the fastest kernels: the real tokens of such a
    row see no padding, and what the padding sees does not matter.
    """
    starts_later = (segments[:, 1:] != segments[:, :-1]) & (segments[:, 1:] >= 0)
    return ~starts_later.any()


def _layout(known: Tensor, tokens: int, plain: bool) -> tuple[Tensor, Tensor | None]:
    """Positions and mask of the last ``tokens`` of the known ones.

    Positions are [rows or 1, tokens] int64, the mask [rows, 1, tokens, known] bool or None as `Attention` wants it. A
    token's position is the number of tokens that it may see before itself, wherever in the row they stand.
    """
    if plain and known.shape[1] == tokens:
        return torch.arange(tokens, device=known.device)[None], None
    mask = seen_by(known, tokens)
    return mask.sum(dim=2) - 1, mask[:, None]


def _rotary(positions: Tensor, head_size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, [rows or 1, 1, tokens, head size / 2] float32 each.

    They are made anew for every batch, which costs little beside a block, so that the module holds nothing derived.
    """
    powers = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32) / head_size
    angles = positions[:, None, :, None] * _THETA**-powers
    return angles.cos(), angles.sin()


def _turn(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair of values, one from either half of the head, by its angle."""
    cosines, sines = rotary
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1).to(x.dtype)


def _check_sizes(sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ModelError(f"{name} {size} makes no decoder", remedy=f"set {name} to at least 1", kind="model.shape")
    width, heads = sizes["width"], sizes["heads"]
    if width % (2 * heads):
        raise ModelError(
            f"a width of {width} does not give each of {heads} heads the same even number of features",
            remedy=f"set width to a multiple of {2 * heads}",
            kind="model.shape",
        )


def _check_shapes(tokens: Tensor, segments: Tensor, cache: Cache | None) -> None:
    if tokens.dim() != 2 or segments.shape != tokens.shape:
        raise DataError(
            f"tokens are {list(tokens.shape)} and segments {list(segments.shape)}",
            remedy="give both as [rows, tokens]",
            kind="data.shape",
        )
    if cache is not None and len(cache.segments) != len(tokens):
        raise UsageError(
            f"the cache is for {len(cache.segments)} rows and the batch has {len(tokens)}",
            remedy="start a cache for as many rows, or select rows of it",
            kind="usage.rows",
        )


def _check_length(known: Tensor, positions: Tensor, context: int) -> None:
    real = known[:, known.shape[1] - positions.shape[1] :] >= 0
    longest = int((positions + 1).mul(real).max()) if real.numel() else 0
    if longest > context:
        raise ModelError(
            f"a document of {longest} tokens is longer than the context of {context}",
            remedy=f"cut it to {context} tokens, or make the decoder with a larger context",
            kind="model.context",
        )


def _outside(token: int, vocabulary: int) -> DataError:
    return DataError(
        f"token {token} is not in the vocabulary of {vocabulary}",
        remedy=f"use tokens from 0 to {vocabulary - 1}",
        kind="data.token",
    )
