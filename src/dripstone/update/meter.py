"""What an update costs, read off the operating system."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from dripstone.core import processes
from dripstone.core.records import Cost


@dataclass(slots=True)
class Meter:
    """Wall and CPU time since it was made.

    Examples
    --------
    >>> Meter().read().peak_memory_bytes > 0
    True
    """

    wall: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.process_time)
    gate_cpu: float = 0.0

    @contextmanager
    def gate(self) -> Iterator[None]:
        """Count what happens inside as the gate's."""
        began = time.process_time()
        try:
            yield
        finally:
            self.gate_cpu += time.process_time() - began

    def read(self) -> Cost:
        """The cost so far, CPU time of all processes of the update together, memory of the largest.

        The kernel counts the peak of the resident set in KiB (in bytes on macOS).
        """
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        mine = torch.tensor([[time.process_time() - self.cpu, self.gate_cpu, peak]], dtype=torch.float64)
        spent = processes.join_shares(mine, processes.size())
        return Cost(
            wall_seconds=time.perf_counter() - self.wall,
            cpu_seconds=float(spent[:, 0].sum()),
            gate_cpu_seconds=float(spent[:, 1].sum()),
            peak_memory_bytes=int(spent[:, 2].max()),
        )
