"""Growing as an update: a larger version that answers as the live one does goes live in its place.

Nothing is trained, and nobody is asked but the two versions: the larger one, rebuilt from its stored bits, has to give
the live one's answers. Both compute in float64 for that, where a sum does not depend on its order; as they are served,
in float32, it does.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import nn

from dripstone.core.bits import view_raw
from dripstone.core.config import Config
from dripstone.core.errors import ModelError
from dripstone.core.fork import changed_tensors
from dripstone.core.records import Certificate, LogEntry, count, now
from dripstone.core.spacing import spaced
from dripstone.models import growth
from dripstone.store.ledger import PageRow
from dripstone.store.repository import Repository, StoredVersion
from dripstone.store.state import TrainingState
from dripstone.update import training_state
from dripstone.update.candidate import count_parameters
from dripstone.update.certify import row_set
from dripstone.update.champion import Champion, head_of, load_champion
from dripstone.update.moves import append, read_book

TOLERANCE = 1e-6
"""How far two log probabilities of one token may be apart."""

COMPARED = 64
"""Trusted rows whose tokens are asked at most."""

MADE_UP = (4, 64)
"""Windows, and tokens of each, where there is no trusted row."""


class Growth(NamedTuple):
    """How a model has grown: the log entry, its parameters before and after, and the bytes that were stored."""

    entry: LogEntry
    before: int
    after: int
    delta_bytes: int


def grow(repository: Repository, config: Config, champion: Champion, *, depth: int = 0, ffn: int = 0) -> Growth:
    """Append blocks, or hidden units of the feed-forward layers, and make the larger version live.

    Parameters
    ----------
    repository : Repository
        Where the champion is live.
    config : Config
        The project's settings.
    champion : Champion
        The live version, loaded. It is only read.
    depth : int
        Blocks to append.
    ffn : int
        Hidden units to append in each block.

    Raises
    ------
    UsageError
        If the model cannot grow, or not by this much.
    ModelError
        If the larger version answers otherwise; nothing has changed then.
    RaceLostError
        If somebody else moved the store meanwhile.
    """
    head = head_of(repository, champion, "the growth")
    state = training_state.load_state(repository, config, champion.version, champion.model)
    stored = _store(repository, champion, depth, ffn)
    grown = load_champion(repository, stored.version)
    rows = compared_rows(state.trusted)
    apart = farthest(champion, grown, rows)
    if not apart <= TOLERANCE:
        raise ModelError(
            f"the larger model answers otherwise: the log probability of a token is {apart:.1e} off",
            remedy="look for weights that are not finite, or so large that sums overflow; nothing has changed",
            kind="model.growth",
        )
    sizes = (count_parameters(champion.model).total, count_parameters(grown.model).total)
    reason = _reason(depth, ffn, *sizes, stored.delta_bytes)
    anchor = stored.version if state.anchor == champion.version else state.anchor
    certificate = Certificate(
        version=stored.version,
        merkle=repository.manifest(stored.version).merkle,
        source="champion",
        verdict="promoted",
        reason=reason,
        number=head.number + 1,
        time=now(),
        champion=champion.version,
        champion_merkle=repository.manifest(champion.version).merkle,
        anchor=state.anchor,
        next_anchor=anchor,
        trusted=row_set(rows),
    )
    name = repository.write_certificate(certificate)
    repository.write_state(_state(repository, state, stored.version, anchor))
    book = read_book(repository, head)
    entry = append(repository, certificate.number, stored.version, "grow", reason, book, name)
    return Growth(entry, *sizes, stored.delta_bytes)


def _store(repository: Repository, champion: Champion, depth: int, ffn: int) -> StoredVersion:
    """Write the larger version; what is the champion's stays where it is."""
    manifest = repository.manifest(champion.version)
    module: nn.Module = champion.model  # type: ignore[assignment]
    model = growth.grow(module, manifest.spec, depth=depth, ffn=ffn)  # type: ignore[arg-type]
    return repository.write_version(
        spec=model.spec,
        assets={},
        task=manifest.task,
        labels=list(manifest.labels),
        parent=champion.version,
        selection=" ".join(f"{name}+{by}" for name, by in (("depth", depth), ("ffn", ffn)) if by),
        data="",
        tensors={name: view_raw(tensor) for name, tensor in changed_tensors(model, module).items()},
    )


def compared_rows(trusted: Sequence[PageRow]) -> list[PageRow]:
    """Trusted rows on which the two versions are compared, evenly spaced."""
    return [trusted[place] for place in spaced(len(trusted), COMPARED).tolist()]


def farthest(small: Champion, large: Champion, rows: Sequence[PageRow]) -> float:
    """How far the log probabilities of any token are apart, at every place of these texts; NaN where one has none.

    Tokens are made up where there are no rows.
    """
    models: list[Any] = [_exact(version.model) for version in (small, large)]
    apart = torch.zeros((), dtype=torch.float64)
    with torch.no_grad():
        for window in _windows(models[0], rows):
            one, two = (model(model.collate([window])).double().log_softmax(dim=2).cpu() for model in models)
            apart = torch.maximum(apart, (one - two).abs().max())
    return float(apart)


def _exact(model: Any) -> Any:
    """The model with its blocks in float64; the output layer, which has not grown, is the very same."""
    twin = copy.copy(model)
    twin._modules = dict(model._modules)
    twin.backbone = copy.deepcopy(model.backbone).double()
    return twin


def _windows(model: Any, rows: Sequence[PageRow]) -> list[Any]:
    if rows:
        ((windows, _),) = model.windows([[row.example().content for row in rows]])
        return list(windows)
    number, longest = MADE_UP
    shape = (number, min(longest, model.preprocess.context))
    tokens = torch.randint(model.backbone.vocabulary, shape, generator=torch.Generator().manual_seed(0))
    return list(torch.stack([tokens, torch.zeros_like(tokens)], dim=1).numpy())


def _reason(depth: int, ffn: int, before: int, after: int, delta_bytes: int) -> str:
    added = [count(depth, "block")] if depth else []
    added += [f"{count(ffn, 'hidden unit')} a block"] if ffn else []
    return (
        f"{' and '.join(added)} added, which change no answer; {count(after, 'parameter')} in place of {before:,}, "
        f"{count(delta_bytes, 'byte')} stored"
    )


def _state(repository: Repository, state: TrainingState, version: str, anchor: str) -> TrainingState:
    """What training remembers of the champion, which holds of whoever answers as it does; optimisers start anew."""
    digest = training_state.features_digest(repository.manifest(version))
    return replace(state, version=version, backbone=digest, anchor=anchor, statistics={}, optimizer={})
