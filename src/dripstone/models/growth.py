"""Growing a decoder: blocks and hidden units are appended that add nothing yet, so that it answers as before.

A new block is made like any other, but for the two matrices through which it adds to the sum, which are zero (Fixup,
arXiv 1901.09321; LLaMA Pro, arXiv 2401.02415). New units of a feed-forward layer have columns of zeros on the way out.
What is zero has a gradient, and all else as soon as that has moved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
import torch

from dripstone.core.errors import UsageError
from dripstone.core.fork import fill, named_tensors
from dripstone.core.records import Spec
from dripstone.core.seeding import seeded
from dripstone.models.factory import Ready, build
from dripstone.models.transformer import DEVIATION, RESIDUAL_OUTPUTS, Decoder

FACTORY = "dripstone.models:decoder"

DEEPEST = 256
"""Blocks of a decoder that has grown."""

WIDEST = 2**16
"""Hidden units of its feed-forward layers."""

TOKENS = "preprocess.learned"
"""What a model has learned its tokens as, which has the size that it has."""


def grow(model: Ready, spec: Spec, *, depth: int = 0, ffn: int = 0) -> Ready:
    """A larger model that answers as the given one does.

    Parameters
    ----------
    model : LanguageModel
        What `dripstone.models.decoder` made. It is only read.
    spec : Spec
        What rebuilds it.
    depth : int
        Blocks to append after the last one.
    ffn : int
        Hidden units to append in the feed-forward layer of every block.

    Returns
    -------
    LanguageModel
        With a spec that rebuilds it: every tensor of the old one, and what was added, drawn from a seed that is the
        spec's hash. It is on the CPU.

    Raises
    ------
    UsageError
        If the model cannot grow, or not by this much.

    Examples
    --------
    >>> from dripstone.models import decoder
    >>> small = decoder(tokenizer="bytes", width=32, depth=2, heads=2, context=64)
    >>> large = grow(small, small.spec, depth=1)
    >>> large.spec.kwargs["depth"], len(large.backbone.blocks)
    (3, 3)
    >>> batch = {"tokens": torch.arange(5)[None], "segments": torch.zeros(1, 5, dtype=torch.int64)}
    >>> bool(torch.equal(large(batch), small(batch)))
    True
    """
    grown_spec = _grown_spec(_decoder_of(model, spec), spec, depth, ffn)
    grown = build(grown_spec, model.assets, classes=0)
    fill(grown, _grown_tensors(named_tensors(model), named_tensors(grown), _seed(grown_spec)).items())
    return grown


def _decoder_of(model: Ready, spec: Spec) -> Decoder:
    if spec.factory != FACTORY or not isinstance(model.backbone, Decoder):
        raise UsageError(
            f"what {spec.factory} makes cannot grow, only what {FACTORY} makes",
            remedy="make a project with a larger model, and update it with the same rows",
            kind="usage.growth",
        )
    return model.backbone


def _grown_spec(decoder: Decoder, spec: Spec, depth: int, ffn: int) -> Spec:
    for name, amount in (("depth", depth), ("ffn", ffn)):
        if type(amount) is not int or amount < 0:
            raise _no_growth(f"{name} {amount!r} is no growth", "give a whole number above 0")
    if not (depth or ffn):
        raise _no_growth("there is nothing to grow by", "give depth, ffn or both")
    blocks, units = len(decoder.blocks) + depth, decoder.hidden + ffn
    for name, size, most in (("blocks", blocks, DEEPEST), ("hidden units", units, WIDEST)):
        if size > most:
            raise _no_growth(f"{size:,} {name} are more than the {most:,} that a model may grow to", "grow by less")
    kwargs = {**spec.kwargs, "depth": blocks, "appended": [depth, ffn]}
    return msgspec.structs.replace(spec, kwargs={**kwargs, "hidden": units} if ffn else kwargs)


def _no_growth(message: str, remedy: str) -> UsageError:
    return UsageError(message, remedy=remedy, kind="usage.growth")


def _grown_tensors(
    old: Mapping[str, torch.Tensor], made: Mapping[str, torch.Tensor], seed: int
) -> dict[str, torch.Tensor]:
    """Those of the old model, filled up to the shapes of the one that was ``made``; the rest anew."""
    found = {}
    with seeded(seed):
        for name, tensor in made.items():
            if name in old and (old[name].shape == tensor.shape or name == TOKENS):
                found[name] = old[name].cpu()
            elif tensor.dim() == 2:  # the gains of a new block's norms are what they were made as
                value = torch.zeros_like(tensor)
                if not name.endswith(RESIDUAL_OUTPUTS):
                    value.normal_(std=DEVIATION)
                if name in old:
                    rows, columns = old[name].shape
                    value[:rows, :columns] = old[name].cpu()
                found[name] = value
    return found


def _seed(spec: Spec) -> int:
    """Another one for every growth: what the factory's seed would give next may stand in the old tensors already."""
    return int.from_bytes(hashlib.sha256(msgspec.json.encode(spec, order="deterministic")).digest()[:7], "big")
