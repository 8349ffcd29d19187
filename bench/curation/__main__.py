"""CLINC150 and BANKING77, spoilt in known ways: each curation policy against uniform training and replay.

    python -m bench.curation --data FOLDER [--only clinc150,banking77] [--learners head@ridge,suffix:1@adamw]
        [--seeds 3] [--quick] [--encoder minilm] [--processes 1] [--json FILE]

FOLDER holds the folders of both data sets. Thirty classes arrive at a time; the gate is off, so that curation alone
decides what is learned. Spoilt is what is sent, held-out rows included, and never a test row. CPU-s are those of all
updates, forward passes and the policy's own work included, on one thread, in a process of its own. The closed form
takes no longer for being given more time, so that equal time means the ratio of CPU-s in the table; the loop makes as
many epochs under every policy. --json keeps what was lived before, so that parts can be run one after another; --quick
is a smoke run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import msgspec
import torch

from bench.clinc import packaged_encoder
from bench.curation.life import Life, Lived, live
from bench.curation.roster import DATA, LOOP, RIDGE, lives
from bench.curation.tables import Found, goals, results
from bench.report import header

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}


def main() -> None:
    """Live what has not been lived yet, and print all of it."""
    options = _parse()
    torch.set_num_threads(1)
    print(header("bench.curation"), flush=True)
    encoder = packaged_encoder() if options.encoder == "minilm" else options.encoder
    lived = _read(options.json)
    known = {one.life for one in lived}
    wanted = list(lives(options.learners.split(","), options.only.split(","), options.seeds, options.quick))
    for one in _live_all([life for life in wanted if life not in known], options, encoder):
        lived.append(one)
        print(f"{one.life}: {one.accuracy:.4f}, {one.cpu_seconds:.0f} CPU-s", flush=True)
        if options.json:
            options.json.write_bytes(msgspec.json.format(msgspec.json.encode(lived)))
    found = Found([one for one in lived if one.life.quick == options.quick])
    for data in found.data:
        print(f"\n{data}\n{results(found, data)}")
    print("\n" + "\n".join(goals(found)))


def _live_all(wanted: list[Life], options: argparse.Namespace, encoder: str):  # type: ignore[no-untyped-def]
    if options.quick:
        yield from (live(life, options.data, encoder) for life in wanted)
        return
    os.environ.update(_ONE_THREAD)
    context = multiprocessing.get_context("spawn")  # torch has its threads already
    with ProcessPoolExecutor(options.processes, mp_context=context, max_tasks_per_child=1) as pool:
        for future in as_completed([pool.submit(live, life, options.data, encoder) for life in wanted]):
            yield future.result()


def _read(path: Path | None) -> list[Lived]:
    return msgspec.json.decode(path.read_bytes(), type=list[Lived]) if path and path.exists() else []


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", default=",".join(DATA))
    parser.add_argument("--learners", default=f"{RIDGE},{LOOP}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--processes", type=int, default=1, help="lives at a time")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
