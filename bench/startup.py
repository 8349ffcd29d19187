"""What `dripstone --help` costs, in starts of a bare interpreter; and that the reading commands load no torch.

python -m bench.startup [--times 20]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.report import header
from dripstone.view.output import table

SHOW_TORCH = """
import sys
from dripstone.view.cli import cli
try:
    cli({arguments!r})
except SystemExit:
    pass
print("torch" in sys.modules, file=sys.stderr)
"""


def seconds(command: list[str]) -> float:
    """Wall time of one run."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def loads_torch(arguments: list[str]) -> bool:
    """Whether a command imports torch."""
    code = SHOW_TORCH.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stderr.split()[-1] == "True"


def main() -> None:
    """Measure in turns and print the best of each, as a ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    times = parser.parse_args().times
    print(header("bench.startup"))
    with tempfile.TemporaryDirectory() as folder:
        project = str(Path(folder) / "project")
        create = ["init", project, "--model", "dripstone.models:mlp", "--model-arg", "inputs=2"]
        subprocess.run([sys.executable, "-m", "dripstone", *create, "--format", "quiet"], check=True)
        commands = {"--help": ["--help"], **{name: ["-C", project, name] for name in ("status", "log", "show")}}
        bare = [sys.executable, "-c", "pass"]
        # In turns, so that a neighbour's load meets all of them alike.
        rounds = [
            (seconds(bare), *(seconds([sys.executable, "-m", "dripstone", *c]) for c in commands.values()))
            for _ in range(times)
        ]
        best = [min(column) for column in zip(*rounds, strict=True)]
        rows = [["bare interpreter", f"{best[0] * 1000:.0f}", "1.0", "-"]]
        for (name, command), fastest in zip(commands.items(), best[1:], strict=True):
            torch = "yes" if loads_torch(command) else "no"
            rows.append([f"dripstone {name}", f"{fastest * 1000:.0f}", f"{fastest / best[0]:.1f}", torch])
    print(table(["command", "ms", "starts", "loads torch"], rows))


if __name__ == "__main__":
    main()
