"""Reading lists page by page, and writing the query that asks for them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar
from urllib.parse import parse_qsl, urlencode

import msgspec

from aval.client.answers import Page
from aval.client.call import Call

Row = TypeVar("Row")


class _Pagination(msgspec.Struct):
    current_page: int
    next_page: int | None
    rows_per_page: int


class _Listing(msgspec.Struct, Generic[Row]):
    data: list[Row]
    pagination: _Pagination


def page_reader(row: type[Row]) -> Callable[[bytes], Page[Row]]:
    """Make what reads a page of such rows."""
    decode: Callable[[bytes], _Listing[Row]] = msgspec.json.Decoder(_Listing[row]).decode  # type: ignore[valid-type]

    def read(body: bytes) -> Page[Row]:
        listing = decode(body)
        told = listing.pagination
        if told.next_page is not None and told.next_page <= told.current_page:  # would go round for ever
            raise msgspec.DecodeError
        return Page(rows=listing.data, number=told.current_page, next_page=told.next_page, size=told.rows_per_page)

    return read


def query_of(**values: object) -> str:
    """A query string of what is not None."""
    return urlencode({name: value for name, value in values.items() if value is not None})


def following(call: Call[Page[Row]], page: Page[Row]) -> Call[Page[Row]] | None:
    """The call for the page after this one, under the same correlation id; None after the last."""
    if page.next_page is None:
        return None
    return replace(call, query=urlencode(dict(parse_qsl(call.query)) | {"page": page.next_page}))
