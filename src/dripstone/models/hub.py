"""Pretrained networks, from a folder or the hub: what a store keeps of them, and their weights. No code is ever run."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dripstone.core.errors import ModelError, UsageError

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
"""The files that a store keeps."""

_CONFIG_BYTES = 2**20

# Keys that would make transformers fetch and run code, that say where the file was, or that differ by its version.
_DROPPED = {
    "_attn_implementation", "_experts_implementation", "_name_or_path", "attn_implementation", "auto_map",
    "custom_pipelines", "experts_implementation", "quantization_config", "transformers_version",
}  # fmt: skip


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' bars, log lines and warnings off the terminal, and put its settings back.

    Raises
    ------
    UsageError
        If the extra ``text`` is not installed.
    """
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


def plain_config(config: Any, **changed: Any) -> bytes:
    """A configuration of transformers as the file that a store keeps."""
    tree = _without_dropped(config.to_dict()) | changed
    return json.dumps(tree, indent=2, sort_keys=True).encode()


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A pretrained network. Its methods are called within `quiet_transformers`, and raise ModelError where they fail.

    Parameters
    ----------
    name : str
        A folder, or the id of a model on the hub.
    what : str
        What it is, for messages: ``"encoder"``.
    kind : str
        Of the errors.

    Examples
    --------
    >>> Pretrained("some/model", "encoder", "model.encoder").cannot_load(ValueError("it is broken")).message
    "the encoder 'some/model' cannot be loaded: it is broken"
    """

    name: str
    what: str
    kind: str

    @property
    def is_folder(self) -> bool:
        """Whether the files are here already."""
        return Path(self.name).is_dir()

    def cannot_load(self, error: Exception | str) -> ModelError:
        """The error for the user, of the library's own error or of a reason."""
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return ModelError(
            f"the {self.what} {self.name!r} cannot be loaded: {reason}",
            remedy=f"give a folder with {CONFIG}, model.safetensors and {TOKENIZER}, or a hub id that can be reached",
            kind=self.kind,
        )

    def read(self) -> tuple[Any, Any]:
        """Its configuration and its tokenizer, as transformers has them."""
        from transformers import AutoConfig, AutoTokenizer

        if not self.is_folder and (self.name.startswith(("/", ".", "~")) or self.name.count("/") > 1):
            raise self.cannot_load("there is no such folder")
        options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": self.is_folder}
        try:
            config = AutoConfig.from_pretrained(self.name, **options)
            tokenizer = AutoTokenizer.from_pretrained(self.name, config=config, use_fast=True, **options)
        except Exception as error:  # OSError, ValueError, KeyError, and whatever the hub client raises
            raise self.cannot_load(error) from error
        return config, tokenizer

    def backend(self, tokenizer: Any, config: Any) -> Any:
        """The tokenizer of the library ``tokenizers`` inside one of transformers."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise self.cannot_load(f"its tokenizer has no {TOKENIZER} form")
        vocabulary = backend.get_vocab()
        # Where there is no tokenizer file, transformers 5 makes one that knows its special tokens only.
        if vocabulary.keys() <= set(tokenizer.all_special_tokens):
            raise self.cannot_load("it has no tokenizer")
        if max(vocabulary.values()) >= getattr(config, "vocab_size", 0):
            raise self.cannot_load("its tokenizer has more tokens than its embedding has rows")
        return backend

    def config(self, files: Mapping[str, bytes]) -> Any:
        """The configuration that the file describes, for plain float32."""
        from transformers import AutoConfig

        if missing := sorted({CONFIG, TOKENIZER} - files.keys()):
            raise self.cannot_load(f"the assets lack {missing[0]}")
        if len(files[CONFIG]) > _CONFIG_BYTES:
            raise self.cannot_load(f"{CONFIG} has more than {_CONFIG_BYTES} bytes")
        try:
            config = AutoConfig.for_model(**_without_dropped(json.loads(files[CONFIG])))
        except Exception as error:  # not JSON, no object, an unknown model_type, or a value the class refuses
            raise self.cannot_load(error) from error
        if getattr(config, "is_encoder_decoder", False) or not isinstance(getattr(config, "hidden_size", None), int):
            raise self.cannot_load(f"{config.model_type} is no plain {self.what}")
        setattr(config, "dtype" if hasattr(config, "dtype") else "torch_dtype", torch.float32)
        return config

    def empty(self, auto: str, config: Any, **options: Any) -> nn.Module:
        """The network with random weights, float32; ``auto`` is a class of transformers', as ``"AutoModel"``."""
        try:
            return _class(auto).from_config(config, trust_remote_code=False, **options).float()
        except Exception as error:  # sizes that do not fit one another, or a configuration that is no model's
            raise self.cannot_load(error) from error

    def load(self, auto: str, config: Any, **options: Any) -> nn.Module:
        """The network with its weights, float32, from safetensors only."""
        try:
            network, report = _class(auto).from_pretrained(
                self.name,
                config=config,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=self.is_folder,
                output_loading_info=True,
                **options,
            )
        except Exception as error:  # as in read, and safetensors' own
            raise self.cannot_load(error) from error
        if missing := sorted(name for name in report["missing_keys"] if "pooler" not in name):
            raise self.cannot_load(f"its weights lack {missing[0]}")
        return network.float()


def _class(auto: str) -> Any:
    return getattr(importlib.import_module("transformers"), auto)


def _without_dropped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_dropped(inner) for key, inner in value.items() if key not in _DROPPED}
    return [_without_dropped(inner) for inner in value] if isinstance(value, list) else value
