"""What an update costs, read off the operating system."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, field

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

    def read(self) -> Cost:
        """The cost so far; the kernel counts the peak of the resident set in KiB (in bytes on macOS)."""
        unit = 1 if sys.platform == "darwin" else 1024
        return Cost(
            wall_seconds=time.perf_counter() - self.wall,
            cpu_seconds=time.process_time() - self.cpu,
            peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        )
