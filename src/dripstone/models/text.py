"""Texts: a pretrained transformer encoder whose mean-pooled output are the features."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dripstone.core.errors import ModelError
from dripstone.core.seeding import seeded
from dripstone.models.classifier import Classifier
from dripstone.models.factory import ModelSpec, with_assets
from dripstone.models.head import Head, RandomFourierFeatures
from dripstone.models.hub import CONFIG, TOKENIZER, Pretrained, plain_config, quiet_transformers
from dripstone.models.preprocess import Text

_DEFAULT_LENGTH = 64


def text_classifier(
    encoder: str,
    max_length: int | None = None,
    random_features: int = 4096,
    seed: int = 0,
    assets: Mapping[str, bytes] | None = None,
) -> Classifier:
    """A classifier of texts over a pretrained encoder.

    Parameters
    ----------
    encoder : str
        A folder with ``config.json``, safetensors weights and a tokenizer, or the id of a model on the hub. Code that
        comes with a model is never run.
    max_length : int
        Longest text in tokens; what is longer is cut. By default 64, or what the encoder knows where that is less.
    random_features, seed : int
        Size and seed of the head's random expansion.
    assets : mapping of str to bytes, optional
        ``config.json`` and ``tokenizer.json`` of an earlier classifier. With them nothing is read from ``encoder``, and
        the weights are random until `dripstone.core.fork.fill` puts the stored ones in.

    Returns
    -------
    Classifier
        Features are [rows, hidden size] float32 of length 1.

    Raises
    ------
    UsageError
        If the extra ``text`` is not installed.
    ModelError
        If the encoder cannot be loaded or is of a kind that cannot be used.

    Examples
    --------
    >>> import json
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "hello": 2}, unk_token="[UNK]"))
    >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> sizes = {"vocab_size": 3, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    >>> config = json.dumps({"model_type": "bert", "intermediate_size": 16, **sizes})
    >>> files = {"config.json": config.encode(), "tokenizer.json": tokenizer.to_str().encode()}
    >>> model = text_classifier("any", assets=files)
    >>> model.features(model.collate(["hello", "hello you"])).shape
    torch.Size([2, 8])
    """
    encoder = os.fspath(encoder)
    source = Pretrained(encoder, "encoder", "model.encoder")
    with quiet_transformers(), seeded(seed):
        files = dict(assets) if assets else _read_files(source)
        config = source.config(files)
        max_length = _checked_length(config, max_length)
        network = (source.empty if assets else source.load)("AutoModel", config, **_options(config))
    # The store carries what the encoder needs; the folder it came from is nobody's business.
    name = Path(encoder).name if source.is_folder and not assets else encoder
    arguments = {"encoder": name, "max_length": max_length, "random_features": random_features, "seed": seed}
    return Classifier(
        preprocess=Text(files[TOKENIZER], max_length),
        backbone=SentenceFeatures(network),
        head=Head(RandomFourierFeatures(config.hidden_size, random_features, seed)),
        spec=with_assets(ModelSpec("dripstone.models:text_classifier", arguments), files),
        assets=files,
    )


class SentenceFeatures(nn.Module):
    """The mean of an encoder's token vectors, scaled to length 1.

    Parameters
    ----------
    encoder : torch.nn.Module
        Called as ``encoder(input_ids=..., attention_mask=...)``; its result has ``last_hidden_state``.

    References
    ----------
    Reimers and Gurevych, "Sentence-BERT", arXiv 1908.10084, section 3.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> class Embeddings(nn.Embedding):
    ...     def forward(self, input_ids, attention_mask):
    ...         return SimpleNamespace(last_hidden_state=super().forward(input_ids))
    >>> batch = {"input_ids": torch.tensor([[1, 2]]), "attention_mask": torch.tensor([[1, 0]])}
    >>> float(SentenceFeatures(Embeddings(3, 4))(batch).norm().detach().round(decimals=4))
    1.0
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """``input_ids`` and ``attention_mask``, both [rows, tokens] int64 -> [rows, hidden size] float32."""
        hidden = self.encoder(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1)
        return nn.functional.normalize(mean, dim=1)


def _read_files(source: Pretrained) -> dict[str, bytes]:
    """The encoder's configuration and tokenizer as the files that a store keeps."""
    config, tokenizer = source.read()
    backend = source.backend(tokenizer, config)
    if tokenizer.pad_token is not None:
        backend.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    return {CONFIG: plain_config(config), TOKENIZER: _composing(backend).to_str().encode()}


def _composing(tokenizer: Any) -> Any:
    """The tokenizer, which first writes each accented letter as one character (Unicode NFC).

    One text may be written with composed or with separate accents, and tokenizers that work on bytes take the two for
    different words. It stands in the tokenizer's file, which a version carries: training and serving cannot differ.
    """
    from tokenizers import normalizers

    before = [normalizers.NFC()]
    tokenizer.normalizer = normalizers.Sequence(before + ([tokenizer.normalizer] if tokenizer.normalizer else []))
    return tokenizer


def _checked_length(config: Any, max_length: int | None) -> int:
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int):
        positions = sys.maxsize
    if max_length is None:
        return min(_DEFAULT_LENGTH, positions)
    if max_length > positions:
        raise ModelError(
            f"max_length {max_length} is more than the {positions} positions that the encoder knows",
            remedy=f"set max_length to at most {positions}",
        )
    return max_length


def _options(config: Any) -> dict[str, Any]:
    """The pooler is left out where the class lets us: nothing reads it, and a suffix should end with a block."""
    from transformers import MODEL_MAPPING

    found: Any = MODEL_MAPPING[type(config)]
    signature = inspect.signature(found[0] if isinstance(found, list | tuple) else found)
    return {"add_pooling_layer": False} if "add_pooling_layer" in signature.parameters else {}
