"""Portions of a stream: lists of examples that are bounded in rows and in memory."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from dripstone.core.examples import Example, Inputs


def portions(examples: Iterable[Example], rows: int, size: int = 256 * 2**20) -> Iterator[list[Example]]:
    """Cut a stream into lists, lazily and in order.

    Parameters
    ----------
    examples : iterable of Example
        Drawn as far as a portion needs: to its last row, or to the first row that it has no room for.
    rows : int
        Examples a portion, at most; at least 1.
    size : int
        Bytes of memory that the inputs of a portion take, at most. A row that is larger alone is a portion of its own.

    Yields
    ------
    list of Example
        Never empty.

    Raises
    ------
    ValueError
        If ``rows`` is less than 1.

    Examples
    --------
    >>> stream = (Example(id=str(number), inputs="hi") for number in range(5))
    >>> [len(portion) for portion in portions(stream, rows=2)]
    [2, 2, 1]
    """
    if rows < 1:
        raise ValueError(f"a portion cannot have {rows} rows")
    portion: list[Example] = []
    filled = 0
    for example in examples:
        weight = _bytes(example.inputs)
        if portion and filled + weight > size:
            yield portion
            portion, filled = [], 0
        portion.append(example)
        filled += weight
        if len(portion) == rows:
            yield portion
            portion, filled = [], 0
    if portion:
        yield portion


def _bytes(inputs: Inputs) -> int:
    return sys.getsizeof(inputs) if isinstance(inputs, str) else inputs.nbytes
