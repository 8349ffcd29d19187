"""Sequence to sequence: a model that reads a text and writes another one, learned from nothing."""

from __future__ import annotations

from dripstone.core.seeding import seeded
from dripstone.models.encoder_decoder import EncoderDecoder, PairStepper
from dripstone.models.factory import ModelSpec
from dripstone.models.language_model import LanguageModel, TokenHead
from dripstone.models.pairs import Pairs
from dripstone.models.tokens import BYTES, MARKS


def seq2seq(
    vocabulary: int = 2048,
    width: int = 128,
    depth: int = 3,
    heads: int = 4,
    context: int = 64,
    reply: int = 32,
    tokenizer: str = "bpe",
    tied: bool = True,
    dropout: float = 0.0,
    seed: int = 0,
) -> LanguageModel:
    """A small encoder-decoder Transformer that learns from pairs of texts alone, for the task ``seq2seq``.

    It is trained with the reply at hand, each token after the right ones before it (teacher forcing).

    Parameters
    ----------
    vocabulary : int
        Tokens with ``"bpe"``, of which prompts and replies have the same; ``"bytes"`` has 258 whatever is asked.
    width, depth, heads : int
        Features of a token, blocks of the encoder and as many of the decoder, and heads of each attention.
    context : int
        Tokens of a prompt at most, a mark at its end among them; what is longer is cut at its end.
    reply : int
        Tokens of a reply at most. A row with a longer one is rejected.
    tokenizer : str
        ``"bpe"`` learns byte pairs from the first stage's texts, ``"bytes"`` takes bytes as they are.
    tied : bool
        Whether the output layer is the embedding.
    dropout : float
        In every block, while it is trained.
    seed : int
        Of the initial weights.

    Returns
    -------
    LanguageModel
        ``suffix:k`` are its last k blocks: the decoder's, and beyond those the encoder's.

    Examples
    --------
    >>> from dripstone.core.examples import Exchange
    >>> model = seq2seq(width=16, depth=1, heads=2, tokenizer="bytes")
    >>> model.read([Exchange("one", "1"), Exchange("twenty", "20")])[:, 0].tolist()
    [2.0, 3.0]
    >>> len(model.generate(["one"], beams=2, max_tokens=8)[0].tokens) <= 8
    True
    """
    size = BYTES + MARKS if tokenizer == "bytes" else vocabulary
    preprocess = Pairs(size, context, tokenizer, reply)  # type: ignore[arg-type]
    with seeded(seed):
        backbone = EncoderDecoder(size, width, depth, heads, context, reply, dropout)
        head = TokenHead.over(backbone.embedding, tied=tied)
    arguments: dict[str, object] = {
        "vocabulary": vocabulary,
        "width": width,
        "depth": depth,
        "heads": heads,
        "context": context,
    }
    arguments |= {"reply": reply, "tokenizer": tokenizer, "tied": tied, "dropout": dropout, "seed": seed}
    return LanguageModel(
        preprocess=preprocess,
        backbone=backbone,
        head=head,
        spec=ModelSpec("dripstone.models:seq2seq", arguments),
        assets={},
        stepper=PairStepper,
    )
