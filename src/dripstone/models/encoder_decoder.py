"""A Transformer that reads a prompt as a whole and writes the reply to it: torch's own layers, several pairs in a row.

All blocks, the encoder's and then the decoder's, pass on one tensor: what is made of the prompts, and behind it what is
made of the replies. The encoder's change its first part, the decoder's its second one. So they are a plain sequence, of
which the last ones can be trained alone, and what the others make of a row be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dripstone.core.errors import ModelError

_THETA = 10000.0


class EncoderDecoder(nn.Module):
    """Encoder blocks over prompts, decoder blocks over replies, without an output layer; norms come first (pre-norm).

    Parameters
    ----------
    vocabulary : int
        Number of tokens, which prompts and replies share.
    width : int
        Features a token; an even number, and a multiple of ``heads``.
    depth : int
        Number of encoder blocks, and of decoder blocks.
    heads : int
        Heads of each attention.
    context : int
        Places for the prompts of a row.
    reply : int
        Tokens of a reply at most.
    dropout : float
        In every block, while it is trained.

    Attributes
    ----------
    embedding : torch.nn.Embedding
        Its weight is [vocabulary, width]; an output layer may be tied to it.
    blocks : torch.nn.ModuleList
        ``depth`` `EncoderBlock`, then ``depth`` `DecoderBlock`.
    norm : torch.nn.LayerNorm
        The last one.

    Raises
    ------
    ModelError
        If a size is below 1 or the heads do not fit the width.

    References
    ----------
    Vaswani et al., "Attention Is All You Need", arXiv 1706.03762. Xiong et al., "On Layer Normalization in the
    Transformer Architecture", arXiv 2002.04745 (norms first).

    Examples
    --------
    >>> model = EncoderDecoder(vocabulary=10, width=8, depth=1, heads=2, context=3, reply=2)
    >>> two_pairs = {"tokens": torch.tensor([[5, 6, 7, 0, 1]]), "segments": torch.tensor([[0, 0, 1, 0, 1]])}
    >>> model(two_pairs).shape
    torch.Size([1, 2, 8])
    """

    def __init__(
        self, vocabulary: int, width: int, depth: int, heads: int, context: int, reply: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        _check_sizes(width=width, depth=depth, heads=heads)
        if not 0 <= dropout < 1:
            raise ModelError(f"a dropout of {dropout} leaves nothing", remedy="set dropout to at least 0 and below 1")
        self.width, self.heads, self.depth = width, heads, depth
        self.context, self.reply = context, reply
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        last = depth - 1
        encoders = [EncoderBlock(width, heads, dropout, last=place == last) for place in range(depth)]
        self.blocks = nn.ModuleList([*encoders, *(DecoderBlock(width, heads, dropout) for _ in range(depth))])
        self.norm = nn.LayerNorm(width)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The features of each place for replies, which depend on its prompt and on the reply's tokens up to it.

        Parameters
        ----------
        batch : dict of str to torch.Tensor
            ``tokens`` and ``segments``, both [rows, context + places for replies] int64. A prompt and a reply of the
            same segment are a pair. A negative segment is padding: nothing sees it, and its own features are finite
            but mean nothing.

        Returns
        -------
        torch.Tensor
            [rows, places for replies, width] float32, after the last norm.
        """
        tokens, segments = batch["tokens"], batch["segments"]
        masks = masks_of(segments[:, : self.context], segments[:, self.context :], self.heads)
        x = torch.cat([self.embed(part, at) for part, at in _halves(tokens, segments, self.context)], dim=1)
        for block in self.blocks:
            x = block(x, masks)
        return self.norm(x[:, self.context :]).float()

    def embed(self, tokens: Tensor, segments: Tensor) -> Tensor:
        """[rows, tokens] -> [rows, tokens, width]: what each token is, and where in its text it stands."""
        return self.embedding(tokens) * self.width**0.5 + _sinusoids(_positions(segments), self.width)

    def encode(self, tokens: Tensor, segments: Tensor) -> Tensor:
        """Prompts alone as the decoder blocks see them, [rows, tokens, width]."""
        masks = masks_of(segments, segments[:, :0], self.heads)
        x = self.embed(tokens, segments)
        for block in self.blocks[: self.depth]:
            x = block(x, masks)
        return x

    def decode(self, memory: Tensor, segments: Tensor, tokens: Tensor) -> Tensor:
        """The features of the last token of replies to encoded prompts, [rows, width]."""
        written = torch.zeros_like(tokens)
        masks = masks_of(segments, written, self.heads)
        x = torch.cat([memory, self.embed(tokens, written)], dim=1)
        for block in self.blocks[self.depth :]:
            x = block(x, masks)
        return self.norm(x[:, -1]).float()


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Who may not see whom, [rows * heads, places that look, places that are seen] bool each, True where hidden.

    ``prompts`` are places of prompts among themselves, ``replies`` those of replies, ``across`` replies that look at
    prompts.
    """

    prompts: Tensor
    replies: Tensor
    across: Tensor


def masks_of(prompts: Tensor, replies: Tensor, heads: int) -> Masks:
    """The masks of [rows, places] segments of prompts and of replies.

    Examples
    --------
    >>> masks = masks_of(torch.tensor([[0, 0, 1, -1]]), torch.tensor([[0, 0, 1, -1]]), heads=1)
    >>> masks.replies[0].int().tolist()
    [[0, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 1], [0, 0, 0, 0]]
    >>> masks.across[0, 0].tolist()
    [False, False, True, True]
    """
    later = torch.ones(replies.shape[1], replies.shape[1], dtype=torch.bool, device=replies.device).triu(1)
    pairs = (_hidden(prompts, prompts), _hidden(replies, replies) | later, _hidden(replies, prompts))
    return Masks(*(hidden.repeat_interleave(heads, dim=0) for hidden in pairs))


def _hidden(looking: Tensor, seen: Tensor) -> Tensor:
    """All but the own segment. Padding may look at anything: with nothing to see, attention would be 0/0."""
    return (looking[:, :, None] != seen[:, None, :]) & (looking[:, :, None] >= 0)


class EncoderBlock(nn.Module):
    """A layer of the encoder: it changes what is made of the prompts, and passes on the rest.

    Parameters
    ----------
    width, heads, dropout
        As in `EncoderDecoder`.
    last : bool
        Whether the encoder's last norm is its.
    """

    def __init__(self, width: int, heads: int, dropout: float, *, last: bool) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(width) if last else nn.Identity()

    def forward(self, x: Tensor, masks: Masks) -> Tensor:
        """[rows, places of prompts and of replies, width] -> the same."""
        places = masks.prompts.shape[2]
        changed = self.norm(self.layer(x[:, :places], src_mask=masks.prompts))
        return torch.cat([changed, x[:, places:]], dim=1)


class DecoderBlock(nn.Module):
    """A layer of the decoder: it changes what is made of the replies, and passes on the rest.

    Parameters
    ----------
    width, heads, dropout
        As in `EncoderDecoder`.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(
            width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
        )

    def forward(self, x: Tensor, masks: Masks) -> Tensor:
        """[rows, places of prompts and of replies, width] -> the same."""
        places = masks.prompts.shape[2]
        memory, replies = x[:, :places], x[:, places:]
        changed = self.layer(replies, memory, tgt_mask=masks.replies, memory_mask=masks.across)
        return torch.cat([memory, changed], dim=1)


class PairStepper:
    """Steps of an `EncoderDecoder`: prompts are encoded once; of a reply, which is short, every step computes all.

    Parameters
    ----------
    network : EncoderDecoder
        It is only read.
    output : callable
        [rows, width] float32 features to [rows, vocabulary] logits.

    Examples
    --------
    >>> network = EncoderDecoder(vocabulary=10, width=8, depth=1, heads=2, context=4, reply=2)
    >>> stepper = PairStepper(network, lambda features: features @ network.embedding.weight.T)
    >>> stepper.start([[1, 2, 9], [4, 9]]).shape
    torch.Size([2, 10])
    >>> stepper.room([[1, 2, 9], [4, 9]])
    [3, 3]
    """

    def __init__(self, network: EncoderDecoder, output: Callable[[Tensor], Tensor]) -> None:
        self._network = network
        self._output = output
        self._memory = self._segments = self._written = torch.empty(0)

    def room(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        """The longest reply, and the mark at its end."""
        return [self._network.reply + 1] * len(prompts)

    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Encode the prompts, whose last token is what their replies begin with; [rows, vocabulary] logits."""
        longest = max(map(len, prompts), default=0)
        tokens = torch.zeros(len(prompts), longest, dtype=torch.int64)
        segments = torch.full_like(tokens, -1)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = torch.tensor(prompt, dtype=torch.int64)
            segments[row, : len(prompt)] = 0
        device = self._network.embedding.weight.device
        self._segments = segments.to(device)
        self._memory = self._network.encode(tokens.to(device), self._segments)
        self._written = torch.empty(len(prompts), 0, dtype=torch.int64, device=device)
        return self.step(torch.tensor([prompt[-1] for prompt in prompts], dtype=torch.int64))

    def step(self, tokens: Tensor) -> Tensor:
        """Read [rows] int64 tokens; [rows, vocabulary] logits."""
        self._written = torch.cat([self._written, tokens[:, None].to(self._written.device)], dim=1)
        return self._output(self._network.decode(self._memory, self._segments, self._written))

    def select(self, rows: Tensor) -> None:
        """Keep these rows, [new rows] int64."""
        rows = rows.to(self._memory.device)
        self._memory, self._segments, self._written = self._memory[rows], self._segments[rows], self._written[rows]


def _halves(tokens: Tensor, segments: Tensor, places: int) -> list[tuple[Tensor, Tensor]]:
    return [(tokens[:, :places], segments[:, :places]), (tokens[:, places:], segments[:, places:])]


def _positions(segments: Tensor) -> Tensor:
    """[rows, tokens] int64: how many tokens of the same segment stand before each.

    Examples
    --------
    >>> _positions(torch.tensor([[0, 0, 3, 3, 3, -1]])).tolist()
    [[0, 1, 0, 1, 2, 0]]
    """
    places = torch.arange(segments.shape[1], device=segments.device)
    starts = torch.zeros_like(segments)
    starts[:, 1:] = torch.where(segments[:, 1:] != segments[:, :-1], places[1:], 0)
    return places - starts.cummax(dim=1).values if segments.shape[1] else starts


def _sinusoids(positions: Tensor, width: int) -> Tensor:
    """[rows, tokens] -> [rows, tokens, width] float32. Made anew for every batch: the module holds nothing derived."""
    powers = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32) / width
    angles = positions[..., None] * _THETA**-powers
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _check_sizes(*, width: int, depth: int, heads: int) -> None:
    for name, size in (("width", width), ("depth", depth), ("heads", heads)):
        if size < 1:
            raise ModelError(f"{name} {size} makes no model", remedy=f"set {name} to at least 1", kind="model.shape")
    if width % heads or width % 2:
        raise ModelError(
            f"a width of {width} is odd, or not the same for each of {heads} heads",
            remedy="set width to an even multiple of heads",
            kind="model.shape",
        )
