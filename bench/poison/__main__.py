"""Attacks on a real stream, with honest updates between: what is promoted, what it costs, what comes back.

    python -m bench.poison --data FOLDER [--seeds 5] [--first-seed 0] [--processes 2]
        [--kinds A,B] [--peers A,B] [--curate POLICY] [--reasons] [--json FILE]

A life a seed: CLINC150's classes arrive in stages, with refreshes between them and every attack once. An update is
harmful if it was promoted and accuracy on the untouched test rows fell by more than 0.5 points, or by more than 2
points on the known labels of one domain (both versions answering among these). Peers get the same batches in the same
order. "no gate" is the control: Dripstone's closed form, which takes everything, so that its harmful updates say what
an attack can do at all. It has no learning rate: that attack's control is a copy of the project with its gate off,
measured and thrown away.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from bench.poison import tables
from bench.poison.attacks import KINDS, Kind
from bench.poison.bench import PEERS, Job, live_all
from bench.poison.peers import missing_peers
from bench.poison.tables import Run
from bench.report import header

LEGEND = """worst fall: of promoted updates, in points, on all test rows / in a domain
own: poisoned rows that were learned or trusted with the update that brought them; back: with a later one;
waiting: still pending in the end"""


def main() -> None:
    """Live the lives and print what happened."""
    options = _parse()
    torch.set_num_threads(1)
    print(header("bench.poison"))
    kinds = [kind for kind in KINDS if not options.kinds or kind.name in options.kinds]
    missing = missing_peers(options.peers)
    for name, why in missing.items():
        print(f"without {name}: {why}")
    peers = tuple(name for name in options.peers if name not in missing)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    jobs = [Job(options.data, tuple(kind.name for kind in kinds), peers, seed, options.curate) for seed in seeds]
    runs: list[Run] = []
    for run in live_all(jobs, options.processes):
        runs.append(run)
        print(f"seed {run.seed}: {run.cpu_seconds:.0f} CPU-s", flush=True)
        if options.reasons:
            print(tables.reasons(run), flush=True)
        if options.json:
            options.json.write_text(json.dumps([run.to_json() for run in runs], indent=1))
    _print(runs, kinds, options.peers)


def _print(runs: Sequence[Run], kinds: Sequence[Kind], peers: Sequence[str]) -> None:
    names = ["stage", "refresh", *(kind.name for kind in kinds)]
    print(f"\n{tables.descriptions(kinds)}\n")
    print(f"{tables.kinds_table(runs, names)}\n{LEGEND}\n")
    print(f"{tables.peers_table(runs, names, peers)}")
    print("Peers keep no deltas, and 'accuracy >=' has no learning rate: these batches are honest refreshes to them.\n")
    print(f"{tables.final_table(runs, peers)}\n")
    print(f"{tables.come_backs(runs)}\n{tables.goals(runs)}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5, help="how many lives")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--kinds", type=_names(tuple(kind.name for kind in KINDS)), default=[])
    parser.add_argument("--peers", type=_names(PEERS), default=list(PEERS), help="'none' for none")
    parser.add_argument("--curate", help="Dripstone's curation policy, in place of the default")
    parser.add_argument("--processes", type=int, default=1, help="lives at a time")
    parser.add_argument("--reasons", action="store_true", help="print every reply of each life")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = [] if text == "none" else [name.strip() for name in text.split(",")]
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of: {', '.join(known)}")
        return names

    return parse


if __name__ == "__main__":
    main()
