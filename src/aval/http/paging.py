"""Lists: which rows a page holds, and how it is told (transfers.md §2.4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from aval.http.edge import Call, QueryParameter

PAGE_SIZE_MAX = 30  # spec transfers.md §2.4

PAGE = QueryParameter("page", "page")
PAGING = (PAGE, QueryParameter("page_size", "page_size"))
ORDERED = (*PAGING, QueryParameter("order_by", "choice", ("asc", "desc")))

Row = TypeVar("Row")
Body = TypeVar("Body")


class Pagination(msgspec.Struct):
    """Where a list stands; no `next_page` on the last one."""

    current_page: int
    next_page: int | None
    rows_per_page: int


class Listing(msgspec.Struct, Generic[Body]):
    """One page of a list."""

    data: list[Body]
    pagination: Pagination


@dataclass(frozen=True, slots=True)
class Page:
    """A page asked for; storage reads one row more than it shows, which tells whether another page follows."""

    number: int
    size: int
    is_newest_first: bool = False

    @property
    def rows(self) -> dict[str, Any]:
        """Which rows, as the lists of storage take it."""
        return {"offset": self.offset, "limit": self.limit, "is_newest_first": self.is_newest_first}

    @property
    def offset(self) -> int:
        """Rows before the page."""
        return (self.number - 1) * self.size

    @property
    def limit(self) -> int:
        """Rows to read."""
        return self.size + 1


def page_of(call: Call, *, size: int = PAGE_SIZE_MAX) -> Page:
    """Read the page a call asks for; the edge has checked both numbers."""
    query = call.query
    return Page(int(query.get("page", 1)), int(query.get("page_size", size)), query.get("order_by") == "desc")


def listing(page: Page, rows: Sequence[Row], body_of: Callable[[Row], Body]) -> Listing[Body]:
    """Show the rows of a page."""
    next_page = page.number + 1 if len(rows) > page.size else None
    return Listing([body_of(row) for row in rows[: page.size]], Pagination(page.number, next_page, page.size))
