"""A decoder of 1.5 million parameters meets Shakespeare, the Bible and the Python documentation, one after another.

    python -m bench.lm --data FOLDER [--seeds 1] [--methods "Dripstone;full, replay"] [--characters 200000] [--quick]
        [--json FILE] [--plot FILE]
    python -m bench.lm --data FOLDER --model smollm2

FOLDER holds lm_tinyshakespeare, lm_bible_kjv and lm_python_docs. Every method begins with the model that has learned
the first domain, remembers as many old documents as a stage has, and makes as many steps as two passes over both. A
seed has documents of its own. Dripstone's updates are whole ones: screening, gate (one document in ten held out and not
learned, at most 200 trusted ones) and store are in their CPU-s. What the others keep of a stage is its weights, of LoRA
its adapters. One thread. LoRA needs ``pip install --no-deps peft accelerate psutil``, --plot needs matplotlib. --json
keeps what was lived before.

The second form adapts SmolLM2-135M to some pages of the documentation; see ``bench/lm/smollm2.py``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import msgspec
import torch

from bench.lm import ours, plain
from bench.lm.domains import read_domains
from bench.lm.life import Life, Lived, Shape
from bench.lm.tables import goals, matrix, results
from bench.report import header
from dripstone.models.language_model import LanguageModel


def main() -> None:
    """Live what has not been lived yet, and print all of it."""
    options = _parse()
    torch.set_num_threads(1)
    os.environ["RAYON_NUM_THREADS"] = "1"
    print(header("bench.lm"), flush=True)
    if options.model == "smollm2":
        from bench.lm import smollm2

        smollm2.main(options.data)
        return
    shape = Shape(characters=options.characters)
    if options.quick:
        shape = Shape(characters=20_000, vocabulary=512, width=32, depth=6, heads=2, context=64)
    lived = _read(options.json)
    for seed in range(options.seeds):
        known = {one.life for one in lived}
        lives = [Life(method, seed, shape) for method in options.methods.split(";")]
        for one in _live([life for life in lives if life not in known], options.data):
            lived.append(one)
            print(
                f"{one.life.method}, seed {seed}: {one.perplexity[-1]}, {sum(one.cpu_seconds[1:]):.0f} CPU-s",
                flush=True,
            )
            if options.json:
                options.json.write_bytes(msgspec.json.format(msgspec.json.encode(lived)))
    mine = [one for one in lived if one.life.shape == shape]
    print(f"\n{mine[0].parameters:,} parameters; the first stage took {mine[0].cpu_seconds[0]:.0f} CPU-s\n")
    print(results(mine))
    for one in mine:
        if one.life.seed == 0 and one.life.method in ("Dripstone", "full, no replay", "full, replay"):
            print("\n" + matrix(one))
    print("\n" + "\n".join(goals(mine)))
    if options.plot:
        from bench.lm.plot import draw

        draw(mine, options.plot)


def _live(lives: list[Life], data: Path):  # type: ignore[no-untyped-def]
    """The lives of one seed, which share their first stage."""
    if not lives:
        return
    domains = read_domains(data, lives[0].shape.characters, lives[0].seed)
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        learner, seconds = ours.begin(project, lives[0].shape, lives[0].seed, domains[0])
        model = learner.champion().model
        assert isinstance(model, LanguageModel)
        for life in lives:
            if life.method in ours.METHODS:
                yield ours.live(life, project, domains, seconds)
            else:
                yield plain.live(life, model, domains, seconds)


def _read(path: Path | None) -> list[Lived]:
    return msgspec.json.decode(path.read_bytes(), type=list[Lived]) if path and path.exists() else []


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", choices=["decoder", "smollm2"], default="decoder")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--methods", default=";".join([*ours.METHODS, *plain.METHODS]))
    parser.add_argument("--characters", type=int, default=200_000)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
