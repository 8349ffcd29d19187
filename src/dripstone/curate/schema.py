"""What the rows of the first stage looked like, so that a broken row of a later one is noticed.

Streams drift, and a row that is merely new has to pass: a value is out of the ordinary only ten widths of its column
beyond all that the first stage had, or ten times its size where that is more, a text only at twenty times its longest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

import numpy as np

from dripstone.core.examples import Inputs
from dripstone.core.records import Schema

WIDTHS = 10.0
"""How many widths of a column, or times its size, beyond its first values a number may lie. A missing value written as
-999, a sum in cents among sums in euros and a broken sensor lie beyond it; a year of growth does not."""

LONGER = 20
"""By how many times a text may exceed the longest of the first stage."""

SHORT = 2000
"""Characters up to which no text is too long."""

FEWEST_ROWS = 50
"""That set bounds: what a few rows span says little about others. A larger stage sets them anew."""

SAME = 0.9
"""Share of the rows that have the same value in a column that counts as one that did not vary: a pixel at the border,
which is ink in one picture of fifty, has not shown yet how dark it can be."""

LOOK = 1000
"""Rows in which that is looked for."""

MAX_COLUMNS = 10_000
"""Columns that have bounds of their own; a larger array, and a picture, has the same for all of its values."""


def learn_schema(inputs: Iterable[Inputs]) -> Schema | None:
    """The schema of the first stage's rows; None for no rows.

    Examples
    --------
    >>> learn_schema([np.array([0.0, 10.0]), np.array([1.0, 30.0])])
    Schema(rows=2, longest=0, low=[0.0, 10.0], high=[1.0, 30.0], apart=0.0)
    """
    rows = list(inputs)
    texts = [row for row in rows if isinstance(row, str)]
    if texts or not rows:
        return Schema(len(texts), max(map(len, texts))) if texts else None
    arrays = [row for row in rows if not isinstance(row, str)]
    low, high = _bounds(arrays)
    return Schema(len(arrays), low=low.tolist(), high=high.tolist())


def _bounds(arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    columns = {row.size for row in arrays}
    if len(columns) > 1 or max(columns) > MAX_COLUMNS or any(row.ndim > 1 for row in arrays):
        return np.array([min(float(row.min()) for row in arrays)]), np.array([max(float(row.max()) for row in arrays)])
    flat = [row.reshape(-1) for row in arrays]
    low, high = reduce(np.minimum, flat).astype(np.float64), reduce(np.maximum, flat).astype(np.float64)
    some = np.stack(flat[:: -(-len(flat) // LOOK)])
    middle = np.median(some, axis=0)
    still = (some == middle).mean(axis=0) > SAME
    return np.where(still, middle, low), np.where(still, middle, high)


def oddity(inputs: Inputs, schema: Schema) -> str | None:
    """Why these inputs are out of the ordinary; None if they are not, or too few rows have set the bounds.

    Other checks come first: shape, NaN.

    Examples
    --------
    >>> oddity(np.array([500.0, 20.0]), Schema(rows=200, low=[0.0, 10.0], high=[1.0, 30.0]))
    'column 1 of the input is far from what the first rows had (0 to 1)'
    """
    if schema.rows < FEWEST_ROWS:
        return None
    if isinstance(inputs, str):
        longest = max(LONGER * schema.longest, SHORT)
        if len(inputs) <= longest:
            return None
        return f"the text is longer than {longest:,} characters, where the first rows had {schema.longest:,} at most"
    low, high = np.array(schema.low), np.array(schema.high)
    values = inputs.reshape(-1).astype(np.float64)
    if len(low) not in (1, len(values)):
        return None  # a model that takes rows in several shapes
    width = high - low
    size = np.maximum(np.abs(low), np.abs(high))
    # A column that hardly varied at first says nothing of how it will: it may be the month of the first days.
    room = np.where(width > 0, WIDTHS * np.maximum(width, size), np.inf)
    odd = np.flatnonzero((values < low - room) | (values > high + room))
    if not len(odd):
        return None
    first = int(odd[0])
    column = first if len(low) > 1 else 0
    where = f"column {first + 1} of the input" if len(low) > 1 or len(values) == 1 else "a value of the input"
    return f"{where} is far from what the first rows had ({low[column]:g} to {high[column]:g})"
