"""Lives of a plain loop of torch, with the same model, windows and schedule; nobody asks whether it does harm."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Sequence

import torch

from bench.lm.domains import Domain
from bench.lm.life import (
    BATCH,
    FIRST_PASSES,
    PASSES,
    RATE,
    REPLAY,
    Life,
    Lived,
    parameters_of,
    perplexities,
)
from dripstone.core.losses import cross_entropy
from dripstone.models.factory import build
from dripstone.models.language_model import LanguageModel

METHODS = (
    "full, no replay",
    "full, replay",
    "LoRA, replay",
    "LoRA, replay, a third of the rate",
    "retrained at every stage",
)

LORA = {"r": 8, "lora_alpha": 16, "target_modules": ["query", "key", "value", "output", "gate", "up", "down"]}
"""Adapters on every matrix of the blocks, as QLoRA recommends (arXiv 2305.14314)."""


def live(life: Life, begun: LanguageModel, domains: list[Domain], first_seconds: float) -> Lived:
    """The later domains."""
    model = copy.deepcopy(begun)
    matrix, seconds, kept = [perplexities(model, domains)], [first_seconds], [4 * parameters_of(model)]
    for stage, domain in enumerate(domains[1:], start=1):
        memory = remembered(domains[:stage], life.seed)
        began = time.process_time()
        if life.method == "retrained at every stage":
            model = _from_nothing(begun, life.seed)
            train(
                model,
                [text for one in domains[: stage + 1] for text in one.learned],
                FIRST_PASSES,
                RATE,
                life.seed,
            )
            size = parameters_of(model)
        elif life.method.startswith("LoRA"):
            rate = RATE / 3 if life.method.endswith("rate") else RATE
            size = _train_lora(model, [*domain.learned, *memory], rate, life.seed)
        else:
            replayed = [] if life.method == "full, no replay" else memory
            train(model, [*domain.learned, *replayed], PASSES, RATE, life.seed)
            size = parameters_of(model)
        seconds.append(time.process_time() - began)
        kept.append(4 * size)
        matrix.append(perplexities(model, domains))
    return Lived(life, matrix, seconds, kept, ["not asked"] * len(domains), parameters_of(model))


def train(model: LanguageModel, texts: Sequence[str], passes: int, rate: float, seed: int) -> None:
    """AdamW over everything that asks for a gradient."""
    windows, targets = model.windows([texts])[0]
    order = torch.Generator().manual_seed(seed)
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(moving, lr=rate, weight_decay=0.01)
    steps = steps_of(windows, passes)
    warm = max(1, steps // 10)
    rising = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warm, total_iters=warm)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps - warm))
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [rising, falling], [warm])
    model.train()
    for _ in range(passes):
        for batch in torch.randperm(len(windows), generator=order).split(BATCH):
            optimizer.zero_grad()
            logits = model(model.collate([windows[i] for i in batch.tolist()]))
            cross_entropy(logits, targets[batch]).mean().backward()
            torch.nn.utils.clip_grad_norm_(moving, 1.0)
            optimizer.step()
            schedule.step()
    model.eval()


def steps_of(windows: Sequence[object], passes: int) -> int:
    """So many steps are so many passes."""
    return passes * -(-len(windows) // BATCH)


def _train_lora(model: LanguageModel, texts: Sequence[str], rate: float, seed: int) -> int:
    """Train adapters, merge them, and say how many numbers they have."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    adapted = get_peft_model(model.backbone, LoraConfig(**LORA))  # type: ignore[arg-type]
    model.backbone = adapted
    size = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    train(model, texts, PASSES, rate, seed)
    model.backbone = adapted.merge_and_unload()
    return size


def _from_nothing(begun: LanguageModel, seed: int) -> LanguageModel:
    """The same model before it has learned, with the tokens of the first stage."""
    model = build(begun.spec, {}, classes=0)
    assert isinstance(model, LanguageModel)
    model.preprocess.learned = begun.preprocess.learned.clone()
    return model


def remembered(before: Sequence[Domain], seed: int) -> list[str]:
    """Documents of earlier stages, as many as others replay."""
    texts = [text for domain in before for text in domain.learned]
    return random.Random(seed).sample(texts, int(REPLAY * len(before[0].learned)))
