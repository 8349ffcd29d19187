"""Lives with Dripstone: the first stage as update zero, the later ones as updates like any other."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from bench.lm.domains import Domain
from bench.lm.life import (
    BATCH,
    FIRST_PASSES,
    PASSES,
    RATE,
    REPLAY,
    Life,
    Lived,
    Shape,
    parameters_of,
    perplexities,
)
from bench.lm.plain import remembered, steps_of
from dripstone.learner import Learner
from dripstone.models import decoder
from dripstone.models.language_model import LanguageModel

METHODS = {
    "Dripstone": {},
    "Dripstone, suffix:3": {"select.selection": "suffix:3"},
    "Dripstone, vectors": {"select.selection": "vectors"},
    "Dripstone, what it writes": {"curate.policy": "screen+replay:REPLAY:generated"},
}
"""Settings of the later updates that are not the default; REPLAY is as many texts as others remember."""


def begin(folder: Path, shape: Shape, seed: int, first: Domain) -> tuple[Learner, float]:
    """A project that has learned the first domain, and the CPU-s of that."""
    model = decoder(shape.vocabulary, shape.width, shape.depth, shape.heads, shape.context, seed=seed)
    settings = {
        "task.slice": "domain",
        "train.batch_size": BATCH,
        "train.learning_rate": RATE,
        "train.stop.epochs": FIRST_PASSES,
        "train.seed": seed,
        "gate.trusted": 200,
        "gate.holdout": 0.1,
        "gate.minimum": 20,
        "curate.policy": f"screen+replay:{int(REPLAY * len(first.learned))}",
    }
    learner = Learner.create(folder, model=model, task="causal_lm", settings=settings)
    # A fixed key in place of the random one, so that the same documents are held out in every run of the bench.
    (learner.repository.path / "training" / "holdout.key").write_bytes(bytes([seed % 256] * 32))
    began = time.process_time()
    update = learner.update(_rows(first), gate="off")
    assert update.promoted, update.reason
    return learner, time.process_time() - began


def live(life: Life, begun: Path, domains: list[Domain], first_seconds: float) -> Lived:
    """The later domains, each an update with the gate on."""
    folder = begun.with_name(f"{begun.name}-{life.method.replace(' ', '-').replace(',', '').replace(':', '')}")
    shutil.copytree(begun, folder)
    try:
        replay = str(int(REPLAY * len(domains[0].learned)))
        chosen = {key: value.replace("REPLAY", replay) for key, value in METHODS[life.method].items()}
        learner = Learner.open(folder, chosen)
        matrix, seconds, kept, verdicts = [perplexities(_model(learner), domains)], [first_seconds], [], ["promoted"]
        kept.append(_bytes(learner))
        for stage, domain in enumerate(domains[1:], start=1):
            learner = Learner.open(folder, chosen | _as_long(_model(learner), domains[: stage + 1], life.seed))
            began = time.process_time()
            update = learner.update(_rows(domain))
            seconds.append(time.process_time() - began)
            verdicts.append(update.verdict)
            kept.append(update.delta_bytes)
            matrix.append(perplexities(_model(learner), domains))
        return Lived(life, matrix, seconds, kept, verdicts, parameters_of(_model(learner)))
    finally:
        shutil.rmtree(folder)


def _as_long(model: LanguageModel, domains: list[Domain], seed: int) -> dict[str, str]:
    """As many steps as others make of the stage: what is held out for the gate is not learned, but costs no step."""
    texts = [*domains[-1].learned, *remembered(domains[:-1], seed)]
    windows, _ = model.windows([texts])[0]
    return {"train.stop.epochs": str(2 * PASSES), "train.stop.steps": str(steps_of(windows, PASSES))}


def _rows(domain: Domain) -> list[dict[str, str]]:
    return [{"text": text, "domain": domain.name} for text in domain.learned]


def _model(learner: Learner) -> LanguageModel:
    model = learner.champion().model
    assert isinstance(model, LanguageModel)
    return model


def _bytes(learner: Learner) -> int:
    """What the store keeps of the first version."""
    return sum(path.stat().st_size for path in (learner.repository.path / "objects").rglob("*") if path.is_file())
