"""What the closed form remembers of all rows so far: the rows while they are few, and after that sums over them.

With phi a row's features as the head expands them, and a constant 1, and with targets y, one-hot where they are
classes and plain where they are numbers, the sums are

    G = sum w phi phi^T          C = sum w phi y^T

Both forms say the same: old rows need not be seen again, in whatever stages they came, rows can be taken out, and a new
class is a new column of C.

References
----------
McDonnell et al., "RanPAC", arXiv 2307.02251, section 4. Zhuang et al., "ACIL", arXiv 2205.14922.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from dripstone.core import processes
from dripstone.core.bits import from_raw, to_raw, view_raw
from dripstone.core.devices import device_of
from dripstone.core.errors import StoreError
from dripstone.core.memory import room
from dripstone.core.protocols import Head
from dripstone.core.tensors import RawTensor

CHUNK = 512
"""Rows that are expanded at a time."""

BLOCK = 512
"""Side of the blocks in which a symmetric matrix is computed and stored."""

SAME = 1e-5
"""Difference, of a row's largest feature, up to which two rows are one. A feature's last bits depend on its batch."""

SAME_WEIGHT = 1e-9
"""Relative difference up to which two weights are one: a weight that has faded step by step is not quite what it would
be after one step."""

FADED = 1e-15
"""Share of the heaviest weight at which a kept row is none."""


@dataclass(frozen=True, slots=True, eq=False)
class KeptRows:
    """Rows as they are before the head expands them, on the CPU.

    ``features`` is [rows, features] float32, ``targets`` [rows] int64, ``weights`` [rows] float64, all above 0.
    """

    features: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor

    def to_raw(self) -> dict[str, RawTensor]:
        """Tensors to store."""
        return {"features": to_raw(self.features), "targets": to_raw(self.targets), "weights": to_raw(self.weights)}


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums over rows, float64, on the CPU.

    ``gram`` holds the blocks of G that meet its lower half, one row of blocks after the other, in one vector. ``cross``
    is C, [D+1, classes].
    """

    gram: torch.Tensor
    cross: torch.Tensor

    def to_raw(self) -> dict[str, RawTensor]:
        """Tensors to store."""
        return {"gram": view_raw(self.gram), "cross": view_raw(self.cross)}

    def blocks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Each row of blocks: which rows of G, and their values up to the diagonal block, a view of ``gram``."""
        start = 0
        for rows in blocks_of(len(self.cross)):
            shape = (rows.stop - rows.start, rows.stop)
            count = shape[0] * shape[1]
            yield rows, self.gram[start : start + count].view(shape)
            start += count


Statistics = KeptRows | Sums


def no_rows() -> KeptRows:
    """Statistics of no rows."""
    return KeptRows(torch.empty(0, 0), torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64))


def add_rows(
    statistics: Statistics, head: Head, features: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
) -> Statistics:
    """Statistics with more rows in them; the given ones are left as they are.

    Rows are kept while there are at most (D+1) / 2 of them. In multiply-adds, with n rows and D columns, a solution
    from rows costs n^2 D / 2 for the products of all pairs and n^3 / 6 for the Cholesky factor, one from sums D^3 / 6:
    the two meet at n = 0.53 D. The n D^2 / 2 of the sums over old rows are put off till then, and spared where no more
    rows come. Where targets are numbers, sums are formed at once: see `solve`.

    Parameters
    ----------
    statistics : KeptRows or Sums
        Of the rows so far; of no more classes than the head has.
    head : Head
        Expands features; its number of classes is that of the result.
    features : torch.Tensor
        [rows, features] float32.
    targets : torch.Tensor
        [rows] int64 class indices, or float64 numbers.
    weights : torch.Tensor
        [rows] float; a negative weight takes a row out again. Where that row is not among those kept, sums are formed.

    Returns
    -------
    KeptRows or Sums
        The same, up to rounding, in whatever order and portions the rows come. Kept rows have the latest at the end.

    Examples
    --------
    >>> from dripstone.models.head import Head, Identity
    >>> head = Head(Identity(7), classes=2)
    >>> few = add_rows(no_rows(), head, torch.eye(7)[:4], torch.tensor([0, 1, 1, 1]), torch.ones(4))
    >>> many = add_rows(few, head, torch.eye(7)[4:], torch.tensor([0, 0, 1]), torch.ones(3))
    >>> len(few.weights), many.cross[-1].tolist()
    (4, [3.0, 4.0])
    """
    weights = weights.double()
    if isinstance(statistics, KeptRows):
        kept = None if targets.is_floating_point() else _keep(statistics, features, targets, weights)
        if kept is not None and 2 * len(kept.weights) <= head.weight.shape[1] + 1:
            return kept
        statistics = to_sums(statistics, head)
    return _add(statistics, head, features, targets, weights)


def to_sums(statistics: Statistics, head: Head) -> Sums:
    """The same statistics as sums.

    Examples
    --------
    >>> from dripstone.models.head import Head, Identity
    >>> to_sums(no_rows(), Head(Identity(3), classes=2)).cross.shape
    torch.Size([4, 2])
    """
    if isinstance(statistics, Sums):
        return statistics
    size = head.weight.shape[1] + 1
    empty = Sums(
        torch.zeros(_packed_size(size), dtype=torch.float64), torch.zeros(size, len(head.bias), dtype=torch.float64)
    )
    return _add(empty, head, statistics.features, statistics.targets, statistics.weights)


def weighs_nothing(statistics: Statistics) -> bool:
    """Whether no row is in the statistics, or none that counts.

    Examples
    --------
    >>> weighs_nothing(no_rows())
    True
    """
    return not len(statistics.weights) if isinstance(statistics, KeptRows) else float(statistics.gram[-1]) == 0.0


def fade(statistics: Statistics, factor: float) -> Statistics:
    """Statistics in which every row weighs ``factor``, above 0, of what it did; the given ones are left as they are.

    A kept row that weighs next to nothing beside the heaviest is dropped: its weight would run out of numbers.

    Examples
    --------
    >>> from dripstone.models.head import Head, Identity
    >>> rows = torch.eye(2), torch.tensor([0, 1]), torch.tensor([1.0, 3.0])
    >>> fade(add_rows(no_rows(), Head(Identity(7), classes=2), *rows), 0.5).weights.tolist()
    [0.5, 1.5]
    """
    if isinstance(statistics, Sums):
        gram = room(len(statistics.gram))
        torch.mul(statistics.gram, factor, out=gram)
        return Sums(gram, statistics.cross * factor)
    if not len(statistics.weights):
        return statistics
    weights = statistics.weights * factor
    stay = weights > FADED * weights.max()
    return KeptRows(statistics.features[stay], statistics.targets[stay], weights[stay])


def _keep(kept: KeptRows, features: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> KeptRows | None:
    """The rows after some came and went; None if one went that is not among them."""
    stay = torch.ones(len(kept.weights), dtype=torch.bool)
    for row in torch.nonzero(weights < 0).flatten().tolist():
        place = _find(kept, stay, features[row], targets[row], -weights[row])
        if place is None:
            return None
        stay[place] = False
    added = weights > 0
    parts = [part for part in (kept.features[stay], features[added].float()) if len(part)]
    return KeptRows(
        torch.cat(parts) if parts else torch.empty(0, 0),
        torch.cat([kept.targets[stay], targets[added]]),
        torch.cat([kept.weights[stay], weights[added]]),
    )


def _find(
    kept: KeptRows, stay: torch.Tensor, features: torch.Tensor, target: torch.Tensor, weight: torch.Tensor
) -> int | None:
    """Where the row stands that has this target and weight and is nearest to these features."""
    same = torch.isclose(kept.weights, weight.to(kept.weights), rtol=SAME_WEIGHT, atol=0.0)
    places = torch.nonzero(stay & (kept.targets == target) & same).flatten()
    if not len(places):
        return None
    distances = (kept.features[places] - features).abs().amax(dim=1)
    nearest = int(distances.argmin())
    return int(places[nearest]) if float(distances[nearest]) <= SAME * float(features.abs().max()) else None


def _add(sums: Sums, head: Head, features: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> Sums:
    cross = torch.zeros(len(sums.cross), len(head.bias), dtype=torch.float64)
    cross[:, : sums.cross.shape[1]] = sums.cross
    new = Sums(room(len(sums.gram)).copy_(sums.gram), cross)
    shared = len(features) > CHUNK  # of fewer rows, sums are made faster than sent
    if shared:
        features, targets, weights = (processes.share(part) for part in (features, targets, weights))
        if not processes.is_first():
            new.gram.zero_()
            cross.zero_()
    for start in range(0, len(features), CHUNK):
        part = slice(start, start + CHUNK)
        phi = expand(head, features[part])
        weighted = phi if bool((weights[part] == 1).all()) else phi * weights[part, None]
        for rows, block in new.blocks():
            block.addmm_(weighted[:, rows].T, phi[:, : rows.stop])
        if targets.is_floating_point():
            cross[:, 0] += weighted.T @ targets[part].double()
        else:
            cross.T.index_add_(0, targets[part], weighted)
        del phi, weighted  # so that the next portion gets their memory
    if shared:
        processes.add_up(new.gram)
        processes.add_up(cross)
    return new


def expand(head: Head, features: torch.Tensor) -> torch.Tensor:
    """[rows, features] to [rows, D+1] float64: the features as the head expands them, and a constant 1."""
    size = head.weight.shape[1] + 1
    phi = room(len(features) * size).view(len(features), size)
    phi[:, -1] = 1
    device = device_of(head)  # type: ignore[arg-type]
    with torch.no_grad():
        for start in range(0, len(features), CHUNK):
            part = slice(start, start + CHUNK)
            phi[part, :-1] = head.expand(features[part].to(device))
    return phi


def as_outputs(targets: torch.Tensor, outputs: int) -> torch.Tensor:
    """What the output layer should give, [rows, outputs] float64: one-hot classes, or numbers as they are.

    Examples
    --------
    >>> as_outputs(torch.tensor([1]), 3).tolist(), as_outputs(torch.tensor([0.5]), 1).tolist()
    ([[0.0, 1.0, 0.0]], [[0.5]])
    """
    if targets.is_floating_point():
        return targets.double()[:, None]
    return torch.nn.functional.one_hot(targets, outputs).double()


def blocks_of(size: int) -> list[slice]:
    """The rows of each row of blocks of a square matrix."""
    return [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]


def _packed_size(size: int) -> int:
    return sum((rows.stop - rows.start) * rows.stop for rows in blocks_of(size))


def fits(tensors: Mapping[str, RawTensor], head: Head) -> bool:
    """Whether stored statistics, if there are any, can be those of this head.

    Examples
    --------
    >>> from dripstone.models.head import Head, Identity
    >>> fits(no_rows().to_raw(), Head(Identity(3))), fits({"gram": RawTensor("F64", (0,), b"")}, Head(Identity(3)))
    (True, False)
    """
    if not tensors:
        return True
    classes, expanded = head.weight.shape
    shapes = {name: raw.shape for name, raw in tensors.items()}
    if shapes.keys() == {"gram", "cross"}:
        cross = shapes["cross"]
        return len(cross) == 2 and cross[0] == expanded + 1 and cross[1] <= classes
    if not _are_rows(tensors):
        return False
    rows = shapes["targets"][0]
    return rows == 0 or (shapes["features"][1] == head.features and int(from_raw(tensors["targets"]).max()) < classes)


def read_statistics(tensors: Mapping[str, RawTensor]) -> Statistics:
    """Inverse of ``to_raw``, bit for bit.

    Raises
    ------
    StoreError
        If the tensors are not those of statistics; checked before memory is taken for them.

    Examples
    --------
    >>> len(read_statistics(no_rows().to_raw()).weights)
    0
    """
    if _are_rows(tensors):
        kept = KeptRows(*(from_raw(tensors[name]) for name in ("features", "targets", "weights")))
        positive = bool(((kept.weights > 0) & torch.isfinite(kept.weights)).all())
        if positive and bool((kept.targets >= 0).all()):
            return kept
    elif _are_sums(tensors):
        return Sums(from_raw(tensors["gram"]), from_raw(tensors["cross"]))
    found = {name: (raw.dtype, raw.shape) for name, raw in tensors.items()}
    raise StoreError(
        f"the stored statistics do not fit together: {found}",
        remedy="remove the store's folder training/state, it is rebuilt from the ledger",
        kind="store.corrupt",
    )


def _are_rows(tensors: Mapping[str, RawTensor]) -> bool:
    found = {name: (raw.dtype, raw.shape) for name, raw in tensors.items()}
    if found.keys() != {"features", "targets", "weights"}:
        return False
    shape = tensors["features"].shape
    return len(shape) == 2 and found == {
        "features": ("F32", shape),
        "targets": ("I64", shape[:1]),
        "weights": ("F64", shape[:1]),
    }


def _are_sums(tensors: Mapping[str, RawTensor]) -> bool:
    found = {name: (raw.dtype, raw.shape) for name, raw in tensors.items()}
    if found.keys() != {"gram", "cross"}:
        return False
    shape, packed = tensors["cross"].shape, tensors["gram"].shape
    # A size that the Gram matrix is too small for is refused before its blocks are counted.
    if len(shape) != 2 or len(packed) != 1 or not 0 < shape[0] ** 2 <= 2 * packed[0]:
        return False
    return found == {"gram": ("F64", (_packed_size(shape[0]),)), "cross": ("F64", shape)}
