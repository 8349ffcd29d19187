"""Four streams that drift: predict each row, then learn it once its label has arrived, beside other online learners.

    python -m bench.drift --data FOLDER [--only spam,rotated,permuted,bike] [--delays 0,100,1000] [--learners A;B]
        [--quick] [--seed 0] [--encoder minilm] [--processes 1] [--json FILE] [--png FILE]

FOLDER holds the folders of the data sets:

spam      ``spam_assassin``: 5,911 mails in time order, subject and body, cut to 1,000 characters: spam or ham
rotated   ``mnist10k``: 10,000 digits in a seeded order, turned further and further, from 0 to 180 degrees
permuted  the same, with the pixels in a new order every 2,000 rows
bike      ``bike_sharing``: 17,379 hours in order. Dripstone has no regression yet, so that ``cnt`` is classified into
          five levels, whose borders are the quintiles of the first 1,000 rows. Columns that give the answer away are
          left out: casual, registered, instant, dteday

Every learner gets the same rows, and of mails the features of the same encoder, whose cost is counted for each, or the
hashed words. It learns the first 200 rows at once, which are not scored; then every row is predicted, and its label
arrives 0, 100 or 1,000 rows later. Dripstone learns from a hundred labels at a time; the others from each, but for
those that are trained once, on the first 500 rows. All settings are the defaults, and SGD is there with its constant
rate as well; Dripstone's policy says that drift is expected and lets a row's weight halve in 1,000 rows, which was
chosen among four on the rotated and the permuted stream ("nothing forgotten" is without that). scikit-learn's learners
see columns standardised by running statistics, River's forest 50 random sums of the pixels, Dripstone the columns as
they are, and once ("scaled columns", gate off) divided by what they vary in the first 200 rows. Each run has one thread
and a process of its own. --json keeps what was run before, so that parts can be run one after another; --quick is a
smoke run on 1,200 rows of each.

River is needed for its forest, scikit-learn for its learners, matplotlib for --png.

Learners: LEARNERS.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.clinc import packaged_encoder
from bench.drift import tables
from bench.drift.children import run_all
from bench.drift.data import STREAMS
from bench.drift.goals import goals
from bench.drift.plot import draw
from bench.drift.results import Result, read_results, write_results
from bench.drift.roster import NAMES, tasks
from bench.report import header


def main() -> None:
    """Run what has not been run yet, and print all of it."""
    options = _parse()
    torch.set_num_threads(1)
    print(header("bench.drift"), flush=True)
    results = read_results(options.json)
    wanted = list(tasks(options.only, options.delays, options.learners, options.seed, options.quick))
    known = {one.task for one in results}
    encoder = packaged_encoder() if options.encoder == "minilm" else options.encoder
    for one in run_all([task for task in wanted if task not in known], options.data, encoder, options.processes):
        results.append(one)
        print(tables.log(one), flush=True)
        if options.json:
            write_results(options.json, results)
    shown = [one for one in results if (one.task.seed, one.task.quick) == (options.seed, options.quick)]
    _print(shown)
    if options.png:
        draw(shown, options.png)


def _print(results: Sequence[Result]) -> None:
    for stream in STREAMS:
        if any(one.task.stream == stream for one in results):
            print(f"\n{stream}\n{tables.accuracies(results, stream)}")
            if made := tables.updates(results, stream):
                print(f"\n{made}\n")
                print("\n".join(tables.details(results, stream)))
    print(f"\n{tables.LEGEND}\n")
    print("\n".join(goals(results)))


def _parse() -> argparse.Namespace:
    text = (__doc__ or "").replace("LEARNERS", "; ".join(NAMES))
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", type=_streams, default=list(STREAMS))
    parser.add_argument("--delays", type=lambda text: [int(delay) for delay in text.split(",")], default=[0, 100, 1000])
    parser.add_argument("--learners", type=_learners, default=list(NAMES), help="separated by semicolons")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--png", type=Path)
    return parser.parse_args()


def _streams(text: str) -> list[str]:
    return _known(text.split(","), tuple(STREAMS))


def _learners(text: str) -> list[str]:
    return _known(text.split(";"), NAMES)


def _known(words: Sequence[str], names: Sequence[str]) -> list[str]:
    found = [word.strip() for word in words]
    if unknown := [word for word in found if word not in names]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of: {'; '.join(names)}")
    return found


if __name__ == "__main__":
    main()
