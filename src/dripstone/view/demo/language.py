"""A small language model: pre-trained on the standard library's code, adapted to the prose of its docstrings."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dripstone.core.records import Update
from dripstone.learner import Learner
from dripstone.models.language_model import LanguageModel
from dripstone.models.scratch import decoder
from dripstone.view.demo.sources import Row, read_library
from dripstone.view.output import Output, plain, table, wrap
from dripstone.view.progress import follow

CODE, PROSE = 450_000, 150_000
"""Characters of each domain that are learned."""

TESTED = 30_000
"""Characters of each domain that are only measured."""

SETTINGS = {"task.slice": "domain", "gate.trusted": 100}
PASSES = 2
"""Over the code, with which the model begins."""

PROMPTS = ("def read(self", "Return the")


def tell(seed: int, project: Path | None, out: Output) -> dict[str, Any]:
    """Run the story in a folder (a temporary one where none is given); returns what it found."""
    if project is not None:
        return _tell(seed, project, out)
    with tempfile.TemporaryDirectory(prefix="dripstone-demo-") as folder:
        return _tell(seed, Path(folder) / "language", out)


def _tell(seed: int, project: Path, out: Output) -> dict[str, Any]:
    library = read_library(CODE + TESTED, PROSE + TESTED)
    (code, code_test), (prose, prose_test) = _part(library.code), _part(library.prose)
    tests = {"code": code_test, "prose": prose_test}
    model = decoder(vocabulary=1024, width=128, depth=4, heads=4, context=128, seed=seed)
    learner = Learner.create(project, model=model, task="causal_lm", settings={**SETTINGS, "train.seed": seed})
    out.note(f"{len(code)} functions of Python's standard library, then {len(prose)} of its docstrings.\n")

    first = _learn(learner, "code, from nothing", code, out, **{"train.stop.epochs": PASSES})
    before = _perplexities(learner, tests)
    naive = _without_care(learner, prose, out)
    second = _learn(learner, "docstrings, with replay", prose, out)
    after = _perplexities(learner, tests)
    written = _write(learner, seed)
    learner.revert()
    back = _perplexities(learner, tests) == before
    learner.revert()
    out.note(wrap(f"revert: the answers of before came back, {'the same bit for bit' if back else 'DIFFERENT'}"))
    result = {
        "stages": [_report(update) for update in (first, naive, second)],
        "perplexity": {"before": before, "after": after},
        "written": written,
        "same_bits": back,
    }
    out.data(result, _human(result))
    return result


def _part(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Rows to learn, and rows that are only measured: every so many-th."""
    characters = sum(len(row["text"]) for row in rows)
    every = max(2, characters // TESTED)
    return [row for i, row in enumerate(rows) if i % every], list(rows[::every])


def _learn(learner: Learner, name: str, rows: Sequence[Row], out: Output, **settings: Any) -> Update:
    update = follow(learner.update_events(rows, settings=settings), show=out.format == "human")
    out.note(wrap(f"{name}: {update.verdict}; {update.reason}", rest="  "))
    return update


def _without_care(learner: Learner, rows: Sequence[Row], out: Output) -> Update:
    """The same docstrings and nothing of what was learned before, in a copy of the project, for the gate to see."""
    copy = learner.project.with_name(f"{learner.project.name}-without-care")
    shutil.copytree(learner.project, copy)
    try:
        return _learn(Learner.open(copy), "docstrings, without replay", rows, out, **{"curate.policy": "screen"})
    finally:
        shutil.rmtree(copy)


def _perplexities(learner: Learner, tests: dict[str, list[Row]]) -> dict[str, float]:
    return {name: learner.evaluate(rows)["metrics"]["perplexity"] for name, rows in tests.items()}


def _write(learner: Learner, seed: int) -> dict[str, str]:
    model = learner.champion().model
    assert isinstance(model, LanguageModel)
    rows = model.generate(PROMPTS, max_tokens=24, temperature=0.7, top_p=0.9, seed=seed)
    return {prompt: model.preprocess.decode(row.tokens) for prompt, row in zip(PROMPTS, rows, strict=True)}


def _report(update: Update) -> dict[str, Any]:
    return {
        "verdict": update.verdict,
        "reason": update.reason,
        "selection": update.selection,
        "trained_share": update.parameters.trained / max(update.parameters.total, 1),
        "replayed": update.examples.replayed,
        "delta_bytes": update.delta_bytes,
        "cpu_seconds": update.cost.cpu_seconds,
    }


def _human(result: dict[str, Any]) -> str:
    names = ("code, from nothing", "docstrings, without replay", "docstrings, with replay")
    stages = [
        [
            name,
            row["verdict"],
            row["selection"],
            f"{row['trained_share']:.0%}",
            f"{row['replayed']:,}",
            f"{row['delta_bytes']:,}",
            f"{row['cpu_seconds']:.1f}",
        ]
        for name, row in zip(names, result["stages"], strict=True)
    ]
    matrix = [
        [f"after {name}", *(f"{result['perplexity'][when][domain]:.1f}" for domain in ("code", "prose"))]
        for name, when in (("code", "before"), ("docstrings", "after"))
    ]
    written = [f"  {plain(prompt)} ... {plain(text[:80])}" for prompt, text in result["written"].items()]
    return "\n".join(
        [
            "",
            table(["stage", "verdict", "selection", "trained", "replayed", "delta bytes", "CPU-s"], stages),
            "",
            table(["perplexity on texts it has not seen", "code", "prose"], matrix),
            "",
            "It writes:",
            *written,
        ]
    )
