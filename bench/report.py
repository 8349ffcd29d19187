"""The first lines of every bench: what ran, where, when."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime


def header(name: str) -> str:
    """Command, date, cores, interpreter and torch.

    Examples
    --------
    >>> header("bench.digits").startswith("$ python -m bench.digits")
    True
    """
    import torch

    arguments = " ".join(sys.argv[1:])
    return (
        f"$ python -m {name}{' ' + arguments if arguments else ''}\n"
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), "
        f"{torch.get_num_threads()} thread(s), Python {platform.python_version()}, torch {torch.__version__}\n"
    )
