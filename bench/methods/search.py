"""Learning rates, chosen on validation rows: every method with each rate, on the digits stream.

    python -m bench.methods.search [--only A,B] [--seed 0]

prints a row a method and writes the best rates to ``bench/methods/rates.json``. Test rows are not read.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch

from bench.methods.life import begin, live
from bench.methods.roster import methods, rates_of
from bench.methods.streams import digits
from bench.methods.tables import last
from bench.report import header

FILE = Path(__file__).with_name("rates.json")


def main() -> None:
    """Try them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(header("bench.methods.search"))
    chosen = json.loads(FILE.read_text()) if FILE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        stream, begun = digits(options.seed), Path(folder) / "begun"
        begin(stream, begun, options.seed)
        for method in methods(options.only):
            found = {}
            for rate in rates_of(method):
                lived = live(stream, begun, Path(folder) / "life", method, rate, ask="validation")
                found[rate] = 0.0 if lived.error else last(lived)
            # Of rates that are equally good, the smallest.
            chosen[method] = max(found, key=lambda rate: (found[rate], -rate))
            print(f"{method}: {', '.join(f'{rate:g}: {share:.4f}' for rate, share in found.items())}", flush=True)
            FILE.write_text(json.dumps(chosen, indent=1) + "\n")


if __name__ == "__main__":
    main()
