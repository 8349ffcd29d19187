"""What it costs to grow a decoder: bytes stored beside the bytes of what was added, and how far answers are off.

python -m bench.growth [--width 192] [--depth 6] [--rows 60]
"""

from __future__ import annotations

import argparse
import shutil
import sysconfig
import tempfile
import time
from pathlib import Path

from bench.report import header
from dripstone.learner import Learner
from dripstone.models import decoder
from dripstone.update.growing import compared_rows, farthest
from dripstone.update.training_state import load_state
from dripstone.view.output import table

GROWTHS = ({"depth": 2}, {"ffn": 256}, {"depth": 2, "ffn": 256})
CHARACTERS = 600


def code(rows: int) -> list[dict[str, str]]:
    """Pieces of the standard library's modules, a piece each."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:rows]
    return [{"text": path.read_text("utf-8", "replace")[2000 : 2000 + CHARACTERS] or path.name} for path in files]


def measure(project: Path, rows: list[dict[str, str]], by: dict[str, int]) -> list[str]:
    """Grow, then learn with what was added alone; a line of the table."""
    learner = Learner.open(project, settings={"gate.mode": "off"})
    small, texts = learner.champion(), [row["text"] for row in rows]
    before = small.model.read(texts)
    began = time.perf_counter()
    learner.grow(**by)
    seconds = time.perf_counter() - began
    large = learner.champion()
    numbers = [sum(p.numel() for p in version.model.parameters()) for version in (small, large)]
    added = 4 * (numbers[1] - numbers[0])
    stored = _payload(learner, small.version, large.version)
    trusted = load_state(learner.repository, learner.config, large.version, large.model).trusted
    exact = farthest(small, large, compared_rows(trusted))
    served = float((large.model.read(texts) - before)[:, 1].abs().max())
    update = learner.update(rows[: len(rows) // 3], select="grown")
    words = " ".join(f"{name} +{number}" for name, number in by.items())
    return [
        words,
        f"{added:,}",
        f"{stored:,}",
        f"{stored / added:.3f}",
        f"{exact:.0e}",
        f"{served:.0e}",
        f"{seconds:.1f}",
        f"{_payload(learner, large.version, learner.champion().version) / (4 * update.parameters.trained):.3f}",
    ]


def _payload(learner: Learner, old: str, new: str) -> int:
    """Bytes of the object that a version added."""
    objects = [{entry.object for entry in learner.repository.manifest(v).tensors.values()} for v in (old, new)]
    return sum(len(learner.repository.objects.get(name, 2**34)) for name in objects[1] - objects[0])


def main() -> None:
    """Teach a decoder some code, and grow copies of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--rows", type=int, default=60)
    chosen = parser.parse_args()
    print(header("bench.growth"))
    with tempfile.TemporaryDirectory() as folder:
        rows = code(2 * chosen.rows)
        model = decoder(tokenizer="bytes", width=chosen.width, depth=chosen.depth)
        project = Path(folder) / "project"
        Learner.create(project, model=model, task="causal_lm").update(rows[: chosen.rows], gate="off")
        lines = []
        for number, by in enumerate(GROWTHS):
            copy = Path(folder) / str(number)
            shutil.copytree(project, copy)
            lines.append(measure(copy, rows[chosen.rows :], by))
    columns = ["grown by", "bytes of what was added", "stored", "share", "off, float64", "off, served", "seconds"]
    print(table([*columns, "stored by an update of it, share"], lines))


if __name__ == "__main__":
    main()
