"""Moments of the columns of every row that was learned: by them the scale of a model is set anew.

A function of what was learned, in the order in which it was: kept beside the version, and rebuilt from the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dripstone.core.protocols import Model
from dripstone.core.tensors import RawTensor
from dripstone.models.moments import join_moments, read_moments
from dripstone.models.preprocess import Vector
from dripstone.store.ledger import PageRow


def scaling_of(model: Model) -> Vector | None:
    """What scales the model's columns, where that may change: where nothing that could have learned lies above it.

    Examples
    --------
    >>> from dripstone.models import mlp
    >>> scaling_of(mlp(inputs=2)) is None, scaling_of(mlp(inputs=2, hidden=[4])) is None
    (False, True)
    """
    fixed = isinstance(model.preprocess, Vector) and not model.backbone.state_dict()
    return model.preprocess if fixed else None


def advance_moments(kept: Mapping[str, RawTensor], trained: Sequence[PageRow], model: Model) -> dict[str, RawTensor]:
    """What is kept after a promotion; nothing for a model whose scale stays.

    A row that corrects another one counts beside it: what it replaces was a value of the column, too.
    """
    scaling = scaling_of(model)
    if scaling is None:
        return {}
    moments = scaling.measure([row.example().inputs for row in trained])
    known = read_moments(kept, scaling.size)
    joined = moments if known is None else join_moments(known, moments)
    return joined.to_raw() if joined.rows else {}


def lacks_moments(kept: Mapping[str, RawTensor], model: Model) -> bool:
    """Whether a state that was read has none that fit the model: those of an older dripstone, and damaged ones."""
    scaling = scaling_of(model)
    return scaling is not None and read_moments(kept, scaling.size) is None
