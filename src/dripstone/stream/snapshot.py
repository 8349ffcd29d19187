"""A file up to the size that it had when it was opened, so that one which is still being written can be read."""

from __future__ import annotations

import io
import os


class Snapshot(io.RawIOBase):
    """The bytes that an open file holds now; what is appended later is not read.

    The last line of a snapshot may be one that a writer has begun. It is, if the file has grown by the time that the
    line is reached, and then belongs to the next reading. In a file that has not grown it is simply the last line, and
    an error if it cannot be read: a truncated file must not lose a row in silence.

    Parameters
    ----------
    file : io.FileIO
        Open for reading, at its beginning. It stays the caller's to close.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "day.csv"
    >>> _ = path.write_text("x,label")
    >>> with path.open("rb", buffering=0) as file:
    ...     snapshot = Snapshot(file)
    ...     _ = path.write_text("x,label,weight")
    ...     snapshot.read(), snapshot.grown()
    (b'x,label', True)
    """

    def __init__(self, file: io.FileIO) -> None:
        super().__init__()
        self._file = file
        self._size = self._left = os.fstat(file.fileno()).st_size

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer with what comes next; 0 at the end of the snapshot."""
        count = self._file.readinto(memoryview(buffer)[: self._left]) or 0
        self._left -= count
        return count

    def grown(self) -> bool:
        """Whether the file is longer than it was when it was opened."""
        return os.fstat(self._file.fileno()).st_size > self._size
