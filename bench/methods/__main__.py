"""Every selector with every optimiser on one stream: accuracy, forgetting, CPU-s, optimiser state, memory, bytes.

    python -m bench.methods [--seeds 1] [--only A,B] [--picture FILE]
    python -m bench.methods --text --data FOLDER

A network learns five digits; then five more, then pictures in which light and dark are exchanged, then more of the
first kind, by one method in each life. ``--text`` takes a sentence encoder and intents of CLINC150. The gate is off:
what is compared is what methods do, not what the gate makes of it. Every method remembers 100 rows, of texts 200.
Learning rates are those that ``bench.methods.search`` chose on validation rows of the digits.

"state" is what optimisers hold at most. "peak" is how far the process rises above where it stood before an update, the
first aside, which loads code. "kB a version" is what is stored of a stage, manifest included, and "moved" are the
numbers that differ after the last stage.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import torch

from bench.methods.goals import goal_lines
from bench.methods.life import begin, live
from bench.methods.plot import draw
from bench.methods.roster import methods
from bench.methods.search import FILE
from bench.methods.streams import digits, intents
from bench.methods.tables import whole_table
from bench.report import header


def main() -> None:
    """Run the lives and print a row a method."""
    options = _parse()
    os.environ["RAYON_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    print(header("bench.methods"), flush=True)
    rates = json.loads(FILE.read_text())
    names = methods(options.only)
    lives = {name: [] for name in names}
    for seed in range(options.seeds):
        stream = intents(options.data, seed) if options.text else digits(seed)
        with tempfile.TemporaryDirectory() as folder:
            begun = Path(folder) / "begun"
            begin(stream, begun, seed)
            for name in names:
                rate = rates[name] * (options.scale if options.text else 1.0)
                lives[name].append(live(stream, begun, Path(folder) / "life", name, rate, ask="test"))
    found = list(lives.values())
    print(whole_table(found, stream))
    print()
    for line in goal_lines(found):
        print(line)
    if options.picture:
        what = "CLINC150, sentence encoder" if options.text else "digits, perceptron"
        draw(found, options.picture, f"Every selector with every optimiser ({what})")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="methods that begin so")
    parser.add_argument("--picture", type=Path, help="draw the heat map there; needs matplotlib")
    parser.add_argument("--text", action="store_true")
    parser.add_argument("--data", type=Path, help="folder of CLINC150, for --text")
    parser.add_argument("--scale", type=float, default=0.1, help="times the rates of the digits, for --text")
    return parser.parse_args()


if __name__ == "__main__":
    main()
