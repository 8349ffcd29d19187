"""Language models that learn from nothing."""

from __future__ import annotations

from collections.abc import Sequence

from dripstone.core.errors import ModelError
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
    hidden: int | None = None,
    appended: Sequence[int] = (0, 0),
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
    hidden : int, optional
        Units of each feed-forward layer; 8/3 of the width, rounded up to a multiple of 16, if left out.
    appended : sequence of int
        Of the blocks and of the units, how many came last: what the selection ``grown`` moves. See
        `dripstone.models.growth.grow`.

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
        backbone = Decoder(size, width, depth, heads, _hidden(width) if hidden is None else hidden, context)
        head = TokenHead.over(backbone.embedding, tied=tied)
    backbone.appended = _checked(appended, backbone)
    arguments: dict[str, object] = {"vocabulary": vocabulary, "width": width, "depth": depth}
    arguments |= {"heads": heads, "context": context}
    # Only where they are given, so that the specs of versions from before stay what they are.
    arguments |= {} if hidden is None else {"hidden": hidden}
    arguments |= {"appended": list(appended)} if any(appended) else {}
    arguments |= {"tokenizer": tokenizer, "tied": tied, "seed": seed}
    return LanguageModel(
        preprocess=preprocess,
        backbone=backbone,
        head=head,
        spec=ModelSpec("dripstone.models:decoder", arguments),
        assets={},
    )


def _hidden(width: int) -> int:
    """Inside the feed-forward layers: 8/3 of the width, as three matrices then cost what two of 4 would."""
    return -(-8 * width // 3 // 16) * 16


def _checked(appended: Sequence[int], backbone: Decoder) -> tuple[int, int]:
    most = (len(backbone.blocks), backbone.hidden - 1)
    if [type(number) for number in appended] != [int, int] or not all(
        0 <= number <= limit for number, limit in zip(appended, most, strict=True)
    ):
        raise ModelError(
            f"appended is {appended!r}, of {most[0]} blocks and {backbone.hidden} units",
            remedy="give two numbers, how many of either came last",
            kind="model.arguments",
        )
    return appended[0], appended[1]
