"""Redaction: a ledger page without some rows. Indices stay, since books and later pages refer to them."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from dripstone.core.records import Role
from dripstone.store.ledger import Carried, Page, PageRow

UNLEARNED: Role = "unlearned"
"""Role of a row that was here; its reason is the role that it had."""

_NOTHING = PageRow(
    id="", inputs="", target=None, weight=0.0, time=None, slice=None, origin="", role=UNLEARNED, reason="", factor=1.0
)


def redact(name: str, page: Page, places: Collection[tuple[str, int]]) -> Page:
    """The page with nothing left of the rows at some places, its own and those that it carried over.

    Parameters
    ----------
    name : str
        The page's.
    page : Page
        It is only read.
    places : collection of tuple of str and int
        Pages, by their first names, with indices.

    Examples
    --------
    >>> from dripstone.core.examples import Example
    >>> page = Page(None, None, [PageRow.of(Example("7", "secret", "greet"), "train")])
    >>> row = redact("ab" * 32, page, {("ab" * 32, 0)}).rows[0]
    >>> row.id, row.inputs, row.target, row.role, row.reason
    ('', '', None, 'unlearned', 'train')
    """
    rows = [
        msgspec.structs.replace(_NOTHING, reason=row.role) if (name, index) in places and row.role != UNLEARNED else row
        for index, row in enumerate(page.rows)
    ]
    carried = [
        msgspec.structs.replace(item, role=UNLEARNED, reason=item.role, factor=1.0)
        if (item.page, item.index) in places and item.role != UNLEARNED
        else item
        for item in page.carried
    ]
    return msgspec.structs.replace(page, rows=rows, carried=carried)


def was(role: Role, row: PageRow | Carried) -> bool:
    """Whether a row that was unlearned had this role before."""
    return row.role == UNLEARNED and row.reason == role
