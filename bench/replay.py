"""Three hundred updates with replay: what is remembered, how large it is, and what an update costs by then.

    python -m bench.replay [--stages 300] [--rows 60]

Generated rows of 20 classes, which come one after another and whose mix changes from stage to stage; 2,000 rows are
remembered. Of each law it is asked whether the memory is what it promises: ``reservoir`` a uniform sample of all rows
that were learned, by class and by time (chi-square, corrected for sampling without replacement); ``balanced`` as many
rows of each class as there is room for, each class's a uniform sample of its rows by time; ``herding`` the counts
alone. Bytes are those of the remembered rows; CPU-s a stage are means over 20 stages, the head solved in closed form.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from scipy.stats import chi2

from bench.report import header
from dripstone.curate.replay import level
from dripstone.learner import Learner
from dripstone.models import mlp
from dripstone.view.output import table

CAPACITY = 2000
CLASSES = 20
COLUMNS = 16
PARTS = 10
"""Parts of the life by which the age of remembered rows is counted."""

TRUSTED = 400
"""Trusted rows, few, so that their cap is reached when the memory is full, and what grows after that is replay's."""

COMPLETE = 0.1
"""Share of the life by which all classes have come: more classes are a larger head, which is no cost of replay."""

WINDOW = 20


@dataclass(frozen=True, slots=True, eq=False)
class Life:
    """What one law left: the learned ids in their order with their classes, the remembered ids, bytes and CPU-s."""

    learned: dict[str, str]
    remembered: list[str]
    bytes: list[int]
    cpu_seconds: list[float]


def stages(count: int, rows: int) -> list[list[dict[str, object]]]:
    """Rows around a centre for each class; class c comes from a stage on that is the later the larger c is."""
    draw = np.random.default_rng(0)
    centres = draw.normal(0, 2, (CLASSES, COLUMNS))
    made = []
    for number in range(count):
        there = np.flatnonzero(np.arange(CLASSES) <= 2 + CLASSES * number / (COMPLETE * count))
        mix = draw.dirichlet(np.full(len(there), 0.5))
        classes = draw.choice(there, rows, p=mix)
        inputs = centres[classes] + draw.normal(0, 1, (rows, COLUMNS))
        made.append(
            [
                {"id": f"{number}-{place}", "inputs": row, "label": f"class {label}"}
                for place, (row, label) in enumerate(zip(inputs, classes, strict=True))
            ]
        )
    return made


def live(law: str, made: Sequence[list[dict[str, object]]]) -> Life:
    """Every stage an update."""
    learned: dict[str, str] = {}
    sizes, costs = [], []
    with tempfile.TemporaryDirectory() as folder:
        learner = Learner.create(
            Path(folder) / "project",
            model=mlp(inputs=COLUMNS, random_features=128),
            select="head",
            curate=f"screen+replay:{CAPACITY}{law and ':' + law}",
            gate="off",
            settings={"task.id": "id", "gate.trusted": TRUSTED},
        )
        (learner.repository.path / "training" / "holdout.key").write_bytes(b"k" * 32)
        for stage in made:
            began = time.process_time()
            update = learner.update(stage)
            costs.append(time.process_time() - began)
            state = learner.repository.read_state(update.version)
            sizes.append(len(msgspec.msgpack.encode(state.replay)))
            page = learner.repository.read_page(learner.repository.page_of(update.version))
            learned |= {row.id: str(row.target) for row in page.rows if row.role == "train"}
        return Life(learned, [row.id for row in state.replay], sizes, costs)


def uniform_p(drawn: Counter[object], offered: Counter[object]) -> float:
    """The chance of counts as uneven as these, if a sample without replacement was drawn from what was offered."""
    total, size = sum(offered.values()), sum(drawn.values())
    if size >= total or len(offered) < 2:
        return 1.0
    expected = {part: size * count / total for part, count in offered.items()}
    statistic = sum((drawn[part] - wanted) ** 2 / wanted for part, wanted in expected.items())
    return float(chi2.sf(statistic * (total - 1) / (total - size), len(expected) - 1))


def by_age(ids: Sequence[str], life: Life) -> Counter[object]:
    """How many of these rows were learned in each part of the life."""
    when = {row: PARTS * place // len(life.learned) for place, row in enumerate(life.learned)}
    return Counter(when[row] for row in ids)


def judge(law: str, life: Life) -> tuple[str, bool]:
    """What the law promises, in words, and whether the memory keeps it."""
    classes = Counter(life.learned.values())
    kept = Counter(life.learned[row] for row in life.remembered)
    if not law:
        p_class = uniform_p(Counter(kept), Counter(classes))
        p_age = uniform_p(by_age(life.remembered, life), by_age(list(life.learned), life))
        return f"chi-square by class p = {p_class:.2f}, by age p = {p_age:.2f}", min(p_class, p_age) > 0.001
    each = level(classes.values(), CAPACITY)
    right = all(kept[name] == min(count, each) for name, count in classes.items())
    words = f"{each} rows of each class, {'as promised' if right else 'NOT as promised'}"
    if law == "herding":
        return words, right
    lowest = min(
        uniform_p(
            by_age([row for row in life.remembered if life.learned[row] == name], life),
            by_age([row for row, label in life.learned.items() if label == name], life),
        )
        for name in classes
    )
    # The least of twenty p-values is below 0.001 once in fifty lives.
    return f"{words}; by age, least p of {len(classes)} classes = {lowest:.3f}", right and lowest > 0.001 / len(classes)


def main() -> None:
    """Live under every law, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, default=300)
    parser.add_argument("--rows", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(header("bench.replay"), flush=True)
    made = stages(options.stages, options.rows)
    full = next(place for place in range(len(made)) if 0.75 * options.rows * (place + 1) > CAPACITY)
    rows, kept = [], []
    for law in ("", "balanced", "herding"):
        life = live(law, made)
        words, right = judge(law, life)
        early, late = (float(np.mean(life.cpu_seconds[place : place + WINDOW])) for place in (full, len(made) - WINDOW))
        bytes_ = life.bytes[full + WINDOW], life.bytes[-1]
        rows.append(
            [law or "reservoir", f"{len(life.remembered):,}", words, f"{bytes_[0]:,} to {bytes_[1]:,}",
             f"{early:.3f}", f"{late:.3f}", f"{late / early:.2f}"]
        )  # fmt: skip
        kept.append(right and late / early <= 1.1)
    first, last = f"CPU-s from {full}", f"from {len(made) - WINDOW}"
    print(table(["law", "rows", "the law", "bytes of rows", first, last, "ratio"], rows))
    print(f"goal, every law kept and a ratio of at most 1.1: {'met' if all(kept) else 'MISSED'}")


if __name__ == "__main__":
    main()
