"""A disk that fills up."""

from __future__ import annotations

import errno
import os


class Disk:
    """Counts os.write and os.fsync, and is full from call ``full_at`` on."""

    def __init__(self, monkeypatch, full_at=None):
        self.calls, self.full_at = 0, full_at
        for name in ("write", "fsync"):
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, real):
        def call(*args):
            self.calls += 1
            if self.full_at is not None and self.calls >= self.full_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args)

        return call
