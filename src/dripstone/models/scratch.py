"""Language models that learn from nothing."""

from __future__ import annotations

import torch
from torch import nn

from dripstone.core.seeding import seeded
from dripstone.models.factory import ModelSpec
from dripstone.models.language_model import LanguageModel, TokenHead
from dripstone.models.tokens import BYTES, MARKS, Tokens
from dripstone.models.transformer import Decoder


def decoder(
    vocabulary: int = 4096,
    width: int = 192,
    depth: int = 6,
    heads: int = 6,
    context: int = 256,
    tokenizer: str = "bpe",
    tied: bool = True,
    seed: int = 0,
) -> LanguageModel:
    """A small decoder that learns a language from nothing: rotary positions, RMSNorm, SwiGLU.

    Parameters
    ----------
    vocabulary : int
        Tokens with ``"bpe"``; ``"bytes"`` has 258 whatever is asked.
    width, depth, heads : int
        Features of a token, blocks, and heads of each block's attention.
    context : int
        Tokens that see one another at most; longer texts are read in pieces.
    tokenizer : str
        ``"bpe"`` learns byte pairs from the first stage's texts, ``"bytes"`` takes bytes as they are.
    tied : bool
        Whether the output layer is the embedding.
    seed : int
        Of the initial weights.

    Examples
    --------
    >>> model = decoder(width=32, depth=2, heads=2, context=64)
    >>> model.fit(["the cat sat on the mat"] * 8)
    >>> model(model.collate(model.windows([["the mat"]])[0][0])).shape[2]
    4096
    """
    size = BYTES + MARKS if tokenizer == "bytes" else vocabulary
    preprocess = Tokens(size, context, tokenizer)  # type: ignore[arg-type]
    with seeded(seed):
        backbone = Decoder(size, width, depth, heads, _hidden(width), context)
        weight: nn.Parameter = backbone.embedding.weight  # type: ignore[assignment]
        if not tied:
            weight = nn.Parameter(torch.randn(size, width) * float(weight.detach().std()))
    arguments = {"vocabulary": vocabulary, "width": width, "depth": depth, "heads": heads, "context": context}
    return LanguageModel(
        preprocess=preprocess,
        backbone=backbone,
        head=TokenHead(weight),
        spec=ModelSpec("dripstone.models:decoder", {**arguments, "tokenizer": tokenizer, "tied": tied, "seed": seed}),
        assets={},
    )


def _hidden(width: int) -> int:
    """Inside the feed-forward layers: 8/3 of the width, as three matrices then cost what two of 4 would."""
    return -(-8 * width // 3 // 16) * 16
