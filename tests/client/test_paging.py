import msgspec
import pytest

from aval.client import Page, Pix
from aval.client.batches import list_pix_batch_items
from aval.client.paging import following, page_reader

KEY = "7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264"


def page(number: int, next_page: int | None) -> Page[Pix]:
    return Page(rows=[], number=number, next_page=next_page, size=10)


def test_the_next_page_is_asked_for_as_the_first_was_and_under_its_correlation_id() -> None:
    call = list_pix_batch_items(KEY, KEY, status="sent", page_size=10)
    second = following(call, page(1, 2))
    assert second.target == call.target + "&page=2"
    third = following(second, page(2, 3))
    assert third.target == call.target + "&page=3"
    assert (third.ids, third.read) == (call.ids, call.read)
    assert following(third, page(3, None)) is None


@pytest.mark.parametrize("next_page", [1, 0, -1])
def test_a_list_that_would_go_round_is_not_understood(next_page) -> None:
    told = {"data": [], "pagination": {"current_page": 1, "next_page": next_page, "rows_per_page": 30}}
    with pytest.raises(msgspec.DecodeError):
        page_reader(Pix)(msgspec.json.encode(told))
