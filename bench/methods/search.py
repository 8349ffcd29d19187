"""Learning rates, chosen on validation rows: every method with one rate after another, on the digits stream.

    python -m bench.methods.search [--only A,B] [--seed 0]

prints a row a method and writes the best rates to ``bench/methods/rates.json``. Test rows are not read.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch

from bench.methods.life import begin, live
from bench.methods.roster import CLOSED, methods
from bench.methods.streams import Stream, digits
from bench.methods.tables import last
from bench.report import header

FILE = Path(__file__).with_name("rates.json")

RATES = tuple(float(f"{digit}e{power}") for power in range(-6, 2) for digit in (1, 3))
"""What may be tried; the search begins with those from 1e-4 to 1e-1."""


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
            ask = partial(_validated, stream, begun, Path(folder) / "life", method)
            found = {1e-3: ask(1e-3)} if method in CLOSED else _search(ask)
            chosen[method] = _best(found)
            print(f"{method}: {', '.join(f'{rate:g}: {found[rate]:.4f}' for rate in sorted(found))}", flush=True)
            FILE.write_text(json.dumps(chosen, indent=1) + "\n")


def _validated(stream: Stream, begun: Path, life: Path, method: str, rate: float) -> float:
    lived = live(stream, begun, life, method, rate, ask="validation")
    return 0.0 if lived.error else last(lived)


def _search(ask: Callable[[float], float]) -> dict[float, float]:
    """Accuracy by rate; while the smallest or the largest of them does best, the next one beyond is tried, too."""
    low, high = RATES.index(1e-4), RATES.index(1e-1)
    found = {rate: ask(rate) for rate in RATES[low : high + 1]}
    while (best := _best(found)) in (RATES[low], RATES[high]) and low > 0 and high < len(RATES) - 1:
        low, high = (low - 1, high) if best == RATES[low] else (low, high + 1)
        found |= {rate: ask(rate) for rate in (RATES[low], RATES[high]) if rate not in found}
    return found


def _best(found: Mapping[float, float]) -> float:
    """Of rates that are equally good, the smallest."""
    return max(found, key=lambda rate: (found[rate], -rate))


if __name__ == "__main__":
    main()
