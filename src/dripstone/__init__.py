"""Dripstone keeps a deployed PyTorch model learning, drop by drop."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dripstone import models as models
    from dripstone.core.errors import DripstoneError as DripstoneError
    from dripstone.core.examples import Example as Example
    from dripstone.core.fork import fork as fork
    from dripstone.core.records import Update as Update
    from dripstone.learner import Learner as Learner
    from dripstone.models.factory import ModelSpec as ModelSpec

__version__ = "0.1.0"

_HOMES = {
    "DripstoneError": "dripstone.core.errors",
    "Example": "dripstone.core.examples",
    "Learner": "dripstone.learner",
    "ModelSpec": "dripstone.models.factory",
    "Update": "dripstone.core.records",
    "fork": "dripstone.core.fork",
}

__all__ = ["DripstoneError", "Example", "Learner", "ModelSpec", "Update", "fork", "models"]


def __getattr__(name: str) -> Any:
    """Load public names when they are first used: ``import dripstone`` alone must not cost an ``import torch``."""
    if name == "models":
        return importlib.import_module("dripstone.models")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'dripstone' has no attribute {name!r}")
