"""Ready models, and the way from a stored spec back to a module. Importing this package does not import torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dripstone.models.classifier import Classifier
    from dripstone.models.factory import ModelSpec, build, prepare
    from dripstone.models.image import image_classifier
    from dripstone.models.perceptron import mlp
    from dripstone.models.pretrained import causal_lm
    from dripstone.models.scratch import decoder
    from dripstone.models.sequence import seq2seq
    from dripstone.models.text import text_classifier

__all__ = [
    "Classifier",
    "ModelSpec",
    "build",
    "causal_lm",
    "decoder",
    "image_classifier",
    "mlp",
    "prepare",
    "seq2seq",
    "text_classifier",
]

# No name may equal that of a file here: importing the file would put the module where the function was.
_HOMES = {
    "Classifier": "classifier",
    "ModelSpec": "factory",
    "build": "factory",
    "causal_lm": "pretrained",
    "decoder": "scratch",
    "image_classifier": "image",
    "mlp": "perceptron",
    "prepare": "factory",
    "seq2seq": "sequence",
    "text_classifier": "text",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
