"""Texts: a pretrained transformer encoder whose mean-pooled output are the features."""

from __future__ import annotations

import inspect
import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dripstone.core.errors import ModelError, UsageError
from dripstone.core.seeding import seeded
from dripstone.models.classifier import Classifier
from dripstone.models.factory import ModelSpec, with_assets
from dripstone.models.head import Head, RandomFourierFeatures
from dripstone.models.preprocess import Text

_CONFIG, _TOKENIZER = "config.json", "tokenizer.json"
_CONFIG_BYTES = 2**20
_DEFAULT_LENGTH = 64

# Keys that would make transformers fetch and run code, that say where the file was, or that differ by its version.
_DROPPED = {
    "_attn_implementation", "_experts_implementation", "_name_or_path", "attn_implementation", "auto_map",
    "custom_pipelines", "experts_implementation", "quantization_config", "transformers_version",
}  # fmt: skip


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
    with _quiet_transformers(), seeded(seed):
        files = dict(assets) if assets else _read_files(encoder)
        config = _config(files, encoder)
        max_length = _checked_length(config, max_length)
        network = (_empty_encoder if assets else _pretrained_encoder)(config, encoder)
    # The store carries what the encoder needs; the folder it came from is nobody's business.
    name = Path(encoder).name if Path(encoder).is_dir() and not assets else encoder
    arguments = {"encoder": name, "max_length": max_length, "random_features": random_features, "seed": seed}
    return Classifier(
        preprocess=Text(files[_TOKENIZER], max_length),
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


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers' bars, log lines and warnings off the terminal, and put its settings back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from transformers.utils import logging
        except ImportError as error:
            raise UsageError(
                "text models need the package 'transformers'", remedy="pip install 'dripstone[text]'"
            ) from error
        level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity(logging.CRITICAL)
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()


def _cannot_load(encoder: str, error: Exception) -> ModelError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return ModelError(
        f"the encoder {encoder!r} cannot be loaded: {reason}",
        remedy="give a folder with config.json, model.safetensors and tokenizer.json, or a hub id that can be reached",
        kind="model.encoder",
    )


def _read_files(encoder: str) -> dict[str, bytes]:
    """The encoder's configuration and tokenizer as the files that a store keeps."""
    from transformers import AutoConfig, AutoTokenizer

    is_folder = Path(encoder).is_dir()
    if not is_folder and (encoder.startswith(("/", ".", "~")) or encoder.count("/") > 1):
        raise _cannot_load(encoder, FileNotFoundError("there is no such folder"))
    options = {"trust_remote_code": False, "local_files_only": is_folder}
    try:
        config = AutoConfig.from_pretrained(encoder, **options)
        tokenizer = AutoTokenizer.from_pretrained(encoder, config=config, use_fast=True, **options)
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, and whatever the hub client does
        raise _cannot_load(encoder, error) from error
    plain = json.dumps(_without_dropped(config.to_dict()), indent=2, sort_keys=True)
    return {_CONFIG: plain.encode(), _TOKENIZER: _tokenizer_json(tokenizer, config, encoder)}


def _tokenizer_json(tokenizer: Any, config: Any, encoder: str) -> bytes:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _cannot_load(encoder, ValueError("its tokenizer has no tokenizer.json form"))
    vocabulary = backend.get_vocab()
    # Where there is no tokenizer file, transformers 5 makes one that knows its special tokens only.
    if vocabulary.keys() <= set(tokenizer.all_special_tokens):
        raise _cannot_load(encoder, ValueError("it has no tokenizer"))
    if max(vocabulary.values()) >= getattr(config, "vocab_size", 0):
        raise _cannot_load(encoder, ValueError("its tokenizer has more tokens than its embedding has rows"))
    if tokenizer.pad_token is not None:
        backend.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    return _composing(backend).to_str().encode()


def _composing(tokenizer: Any) -> Any:
    """The tokenizer, which first writes each accented letter as one character (Unicode NFC).

    One text may be written with composed or with separate accents, and tokenizers that work on bytes take the two for
    different words. It stands in the tokenizer's file, which a version carries: training and serving cannot differ.
    """
    from tokenizers import normalizers

    before = [normalizers.NFC()]
    tokenizer.normalizer = normalizers.Sequence(before + ([tokenizer.normalizer] if tokenizer.normalizer else []))
    return tokenizer


def _without_dropped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_dropped(inner) for key, inner in value.items() if key not in _DROPPED}
    return [_without_dropped(inner) for inner in value] if isinstance(value, list) else value


def _config(files: Mapping[str, bytes], encoder: str) -> Any:
    """The configuration that the file describes, for plain float32."""
    from transformers import AutoConfig

    missing = sorted({_CONFIG, _TOKENIZER} - files.keys())
    if missing:
        raise _cannot_load(encoder, ValueError(f"the assets lack {missing[0]}"))
    if len(files[_CONFIG]) > _CONFIG_BYTES:
        raise _cannot_load(encoder, ValueError(f"{_CONFIG} has more than {_CONFIG_BYTES} bytes"))
    try:
        tree = _without_dropped(json.loads(files[_CONFIG]))
        config = AutoConfig.for_model(**tree)
    except Exception as error:  # not JSON, no object, an unknown model_type, or a value the class refuses
        raise _cannot_load(encoder, error) from error
    if getattr(config, "is_encoder_decoder", False) or not isinstance(getattr(config, "hidden_size", None), int):
        raise _cannot_load(encoder, ValueError(f"{config.model_type} is no plain encoder"))
    setattr(config, "dtype" if hasattr(config, "dtype") else "torch_dtype", torch.float32)
    return config


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


def _empty_encoder(config: Any, encoder: str) -> nn.Module:
    from transformers import AutoModel

    try:
        return AutoModel.from_config(config, trust_remote_code=False, **_options(config)).float()
    except Exception as error:  # sizes that do not fit one another, or a configuration that is no model's
        raise _cannot_load(encoder, error) from error


def _pretrained_encoder(config: Any, encoder: str) -> nn.Module:
    from transformers import AutoModel

    try:
        network, report = AutoModel.from_pretrained(
            encoder,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=Path(encoder).is_dir(),
            output_loading_info=True,
            **_options(config),
        )
    except Exception as error:  # as in _read_files, and safetensors' own
        raise _cannot_load(encoder, error) from error
    missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    if missing:
        raise _cannot_load(encoder, ValueError(f"its weights lack {missing[0]}"))
    return network.float()
