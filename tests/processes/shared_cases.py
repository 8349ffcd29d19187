"""What several processes share, done alone and then together. Run in each of them; prints how far both are apart."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import numpy as np
import torch
from torch import nn

from dripstone.core import processes
from dripstone.core.config import Retain, Stop, TrainConfig
from dripstone.core.errors import DataError, DripstoneError
from dripstone.curate.augment import Change
from dripstone.curate.prune import Prune
from dripstone.models import decoder, mlp
from dripstone.models.head import Head, Identity
from dripstone.select.selection import parse_selection
from dripstone.select.share import Draw
from dripstone.train.activation_cache import ActivationCache
from dripstone.train.cached_features import encode_and_record, features_from
from dripstone.train.features import features_of, result_of
from dripstone.train.importance import importance
from dripstone.train.loop import run_loop
from dripstone.train.low_rank import adapted
from dripstone.train.rows import Rows
from dripstone.train.solve import solve
from dripstone.train.statistics import add_rows, no_rows, to_sums

Found = list[torch.Tensor]
FAST = TrainConfig(stop=Stop(epochs=3), learning_rate=0.01, batch_size=8)


def points(count: int, width: int = 4) -> list[np.ndarray]:
    draw = np.random.default_rng(count)
    return list((draw.normal(size=(count, width)) + np.arange(count)[:, None] % 3).astype("f4"))


def encoded(count: int) -> Found:
    return [features_of(mlp(inputs=4, hidden=[8]), points(count))]


def texts() -> Found:
    model = decoder(width=16, depth=1, heads=2, context=32, tokenizer="bytes")
    return [features_of(model, ["a" * length for length in range(1, 24)])]


def sums(targets: torch.Tensor) -> Found:
    """Sums over rows that came in two portions, and the output layer that they give."""
    head = Head(Identity(40), classes=1 if targets.is_floating_point() else 3)
    draw = torch.Generator().manual_seed(0)
    features, weights = torch.randn(len(targets), 40, generator=draw), torch.rand(len(targets), generator=draw)
    first, second = slice(0, 701), slice(701, None)
    found = add_rows(to_sums(no_rows(), head), head, features[first], targets[first], weights[first])
    found = add_rows(found, head, features[second], targets[second], weights[second])
    return [found.gram, found.cross, solve(found, head, 0.1).weights]


def loop(
    count: int = 25,
    config: TrainConfig = FAST,
    *,
    retain: bool = False,
    prune: Prune | None = None,
    change: Change | None = None,
) -> Found:
    """What a model has become, and the loss of each epoch."""
    model = mlp(inputs=4, hidden=[8, 8], random_features=16)
    model.fit(points(30))
    model.head.fit(features_of(model, points(30)))
    model.head.grow(3)
    targets = torch.arange(count) % 3
    more = {}
    if retain:
        more = {"replayed": torch.arange(count) % 4 == 0, "known": 2, "champion_logits": torch.ones(count, 2)}
    rows = Rows(points(count), targets, torch.linspace(0.5, 1, count), **more)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    losses = [event.loss for event in run_loop(model, names, rows, config, "full", prune=prune, change=change)]
    return [*model.state_dict().values(), torch.tensor(losses)]


def cached(count: int) -> Found:
    """Features beside the activation cache, then a loop over the last block that starts from it."""
    model = mlp(inputs=4, hidden=[8, 8, 8], random_features=16)
    model.fit(points(30))
    names = [name for name in _moving(model) if name.startswith(("backbone.2", "head"))]
    cache = ActivationCache(model, names)
    features = result_of(encode_and_record(model, points(count), cache))
    model.head.fit(features)
    model.head.grow(3)
    rows = Rows(points(count), torch.arange(count) % 3, torch.ones(count))
    config = settings(retain=Retain(l2=0.1), batch_size=5)
    losses = [event.loss for event in run_loop(model, names, rows, config, "suffix:1", cache=cache)]
    return [features, *model.state_dict().values(), torch.tensor(losses), features_from(model, points(count), cache)]


def language() -> Found:
    """Windows of unlike length, more in one share than in the other."""
    model = decoder(width=16, depth=2, heads=2, context=16, tokenizer="bytes")
    parts = model.windows([[f"the {word} sat down" for word in ("cat", "dog", "old bird", "fish", "cow")] * 3])
    rows = Rows(list(parts[0][0]), parts[0][1], torch.ones(len(parts[0][0])))
    config = msgspec.structs.replace(FAST, batch_size=4)
    losses = [event.loss for event in run_loop(model, _moving(model), rows, config, "full")]
    return [*model.state_dict().values(), torch.tensor(losses)]


def part_of(selection: str, rank: int = 0) -> Found:
    """What a share chosen by what the rows say has become, or products of low rank; and the scores."""
    model = mlp(inputs=4, hidden=[8, 8], random_features=16)
    model.fit(points(30))
    model.head.fit(features_of(model, points(30)))
    model.head.grow(3)
    rows = Rows(points(25), torch.arange(25) % 3, torch.linspace(0.5, 1, 25))
    with torch.no_grad():
        model.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    asked = parse_selection(selection)
    scores = importance(model, rows, asked.scores) if asked.scores else {}
    names, parts = asked.choose(model, Draw(scores, known=3))
    if rank:
        weights = [name for name in names if name.startswith("backbone.")]
        with adapted(model, weights, rank, seed=0) as products:
            result_of(run_loop(model, [*products.names, "head.weight", "head.bias"], rows, FAST, selection))
    else:
        result_of(run_loop(model, names, rows, FAST, selection, parts=parts))
    return [*model.state_dict().values(), *scores.values()]


def _moving(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def settings(**values: object) -> TrainConfig:
    return msgspec.structs.replace(FAST, **values)


CASES: dict[str, Callable[[], Found]] = {
    "features of one row": lambda: encoded(1),
    "features of 65 rows": lambda: encoded(65),
    "features of 400 rows": lambda: encoded(400),
    "likelihoods of texts": texts,
    "sums of classes": lambda: sums(torch.arange(1500) % 3),
    "sums of numbers": lambda: sums(torch.linspace(-1, 1, 1500, dtype=torch.float64)),
    "loop": loop,
    "loop over rows": lambda: part_of("rows:0.3"),
    "loop over entries": lambda: part_of("entries:0.3:gradient"),
    "loop over entries by Fisher information": lambda: part_of("entries:0.3:fisher"),
    "loop over blocks": lambda: part_of("blocks:0.5:gradient"),
    "loop at low rank": lambda: part_of("low_rank:2", rank=2),
    "loop, batches of one row": lambda: loop(5, settings(batch_size=1)),
    "loop, fewer rows than processes": lambda: loop(2),
    "loop, stops without progress": lambda: loop(40, settings(stop=Stop(epochs=8, patience=1))),
    "loop, seconds": lambda: loop(config=settings(stop=Stop(epochs=3, wall_seconds=600))),
    "loop, terms against forgetting": lambda: loop(
        config=settings(retain=Retain(distill=0.5, derpp=0.5, ewc=10.0, l2=0.1)), retain=True
    ),
    "loop, pruned": lambda: loop(40, settings(stop=Stop(epochs=6)), prune=Prune("infobatch")),
    "loop, changed": lambda: loop(change=Change(("jitter",))),
    "loop, sgd with a clipped gradient": lambda: loop(
        config=settings(optimizer="sgd", step=msgspec.structs.replace(FAST.step, clip=0.1, accumulate=2))
    ),
    "cache": lambda: cached(40),
    "cache, one row": lambda: cached(1),
    "language model": language,
}


def apart(one: Found, other: Found) -> float:
    """The largest difference, beside the largest number of the tensor."""
    found = 0.0
    for mine, theirs in zip(one, other, strict=True):
        if mine.shape != theirs.shape:
            return float("inf")
        if mine.numel():
            mine, theirs = mine.double(), theirs.double()
            found = max(found, float((mine - theirs).abs().max()) / max(1e-6, float(mine.abs().max())))
    return found


def by_first() -> list[str]:
    """A result of the first process, an error of ours, and one that is none."""

    def fail(error: Exception) -> int:
        raise error

    said = [str(processes.by_first(lambda: [processes.rank(), 41], list[int]))]
    said.append(str(processes.by_first(lambda: float("inf"), float)))
    for error in (DataError("no rows", remedy="send some", kind="data.empty"), KeyError("bug")):
        try:
            processes.by_first(lambda error=error: fail(error), int)
        except DripstoneError as caught:
            said.append(f"{type(caught).__name__} {caught.kind}: {caught}")
        except KeyError as caught:
            said.append(repr(caught))
    return said


def agreement() -> str:
    processes.agree("rows", "same everywhere")
    try:
        processes.agree("rows", f"seen by {processes.rank()}")
    except DripstoneError as error:
        return f"{error.kind}: {error}"
    return "agreed"


def main() -> None:
    torch.set_num_threads(1)
    alone = {name: case() for name, case in CASES.items()}
    with processes.joined():
        together = {name: case() for name, case in CASES.items()}
        found = {
            "rank": processes.rank(),
            "size": processes.size(),
            "share": processes.share([0, 1, 2, 3]),
            "apart": {name: apart(alone[name], together[name]) for name in CASES},
            "by_first": by_first(),
            "agreement": agreement(),
        }
    assert processes.size() == 1
    print(json.dumps(found))


if __name__ == "__main__":
    main()
