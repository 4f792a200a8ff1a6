"""Whatever is changed in a sealed chain is found, and the first bad row is named."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from aval.domain.audit_chain import NO_HEAD, ChainedRow, Head, Link, next_link
from aval.domain.audit_check import ChainCheck, Fault, FaultKind
from aval.domain.keyring import Keyring
from tests.domain.test_audit_chain import KEY, chain, chained

Chain = list[tuple[Link, list[ChainedRow]]]


def checked(links: Sequence[tuple[Link, Sequence[ChainedRow]]], keyring: Keyring | None = None) -> Fault | None:
    check = ChainCheck(keyring or Keyring([KEY]))
    return next(filter(None, (check.take(*each) for each in links)), None)


def key_of(number: int) -> str:
    return chained(number).audit_id


def test_a_chain_as_it_was_made_has_no_fault() -> None:
    check = ChainCheck(Keyring([KEY]))
    made = chain(3, 1, 4)
    assert [check.take(*each) for each in made] == [None] * 3
    assert check.head == Head.of(made[-1][0])
    assert check.head.rows == 8
    assert checked([]) is None


@dataclass
class Case:
    """Rows 1–3, 4–6 and 7–9 in three links, and what is done to them."""

    name: str
    change: Callable[[Chain], object]
    kind: FaultKind
    link_no: int
    row_no: int
    audit_id: str | None


def rows_of(number: int, change: Callable[[list[ChainedRow]], object]) -> Callable[[Chain], object]:
    return lambda links: change(links[number - 1][1])


def edited(number: int, **change: object) -> Callable[[Chain], object]:
    """The row of this number, in the second link."""
    return rows_of(2, lambda rows: rows.__setitem__(number - 4, rows[number - 4]._replace(**change)))


def link_of(number: int, **change: object) -> Callable[[Chain], object]:
    def apply(links: Chain) -> None:
        link, rows = links[number - 1]
        links[number - 1] = (replace(link, **change), rows)

    return apply


def swapped(rows: list[ChainedRow]) -> None:
    rows[0], rows[1] = rows[1]._replace(xact=rows[0].xact), rows[0]._replace(xact=rows[1].xact)


def exchanged(links: Chain) -> None:
    """Links 2 and 3 trade places, numbers and all."""
    (two, rows_two), (three, rows_three) = links[1], links[2]
    links[1], links[2] = (replace(three, number=2), rows_two), (replace(two, number=3), rows_three)


def sealed_anew(links: Chain) -> None:
    """By one who knows the form, but not the key."""
    (_, rows), head = links[1], Head.of(links[0][0])
    rows[1] = rows[1]._replace(actor="nobody")
    stranger = type(KEY)(KEY.purpose, KEY.kid, b"x" * 32, KEY.created_at)
    links[1] = (next_link(rows, head, stranger, sealed_at="1763820700.000000"), rows)
    links[2] = (next_link(links[2][1], Head.of(links[1][0]), stranger, sealed_at="1763820700.000000"), links[2][1])


def deleted_and_unlisted(links: Chain) -> None:
    link, rows = links[1]
    del rows[1]
    links[1] = (replace(link, marks=link.marks[:32] + link.marks[64:], row_count=2), rows)


def cut_and_numbered_anew(links: Chain) -> None:
    link, rows = links.pop()
    links[1] = (replace(link, number=2), rows)


def later_end(links: Chain) -> None:
    """Link 2 reaches over a row of link 3."""
    (link, rows), (_, following) = links[1], links[2]
    links[1] = (replace(link, last=following[0].place), [*rows, following.pop(0)])


CASES = [
    Case("edit", edited(5, actor="nobody"), FaultKind.CHANGED, 2, 5, key_of(5)),
    Case("delete", rows_of(2, lambda rows: rows.pop(0)), FaultKind.MISSING, 2, 4, key_of(4)),
    Case("delete the last", rows_of(3, lambda rows: rows.pop()), FaultKind.MISSING, 3, 9, key_of(9)),
    Case("delete all of a link", rows_of(1, lambda rows: rows.clear()), FaultKind.MISSING, 1, 1, key_of(1)),
    Case("insert", rows_of(2, lambda rows: rows.insert(1, chained(99))), FaultKind.ADDED, 2, 5, key_of(99)),
    Case("append", rows_of(2, lambda rows: rows.append(chained(99))), FaultKind.ADDED, 2, 7, key_of(99)),
    Case("another key", edited(5, audit_id=key_of(99)), FaultKind.ADDED, 2, 5, key_of(99)),
    Case("swap of rows", rows_of(2, swapped), FaultKind.MISSING, 2, 4, key_of(4)),
    Case("swap of links", exchanged, FaultKind.ADDED, 2, 4, key_of(4)),
    Case("delete and take off the list", deleted_and_unlisted, FaultKind.CHANGED, 2, 5, key_of(6)),
    Case("seal anew", sealed_anew, FaultKind.CHANGED, 2, 4, key_of(4)),
    Case("cut the first link", lambda links: links.pop(0), FaultKind.LINK_MISSING, 1, 1, key_of(4)),
    Case("cut a link", lambda links: links.pop(1), FaultKind.LINK_MISSING, 2, 4, key_of(7)),
    Case("cut a link and number anew", cut_and_numbered_anew, FaultKind.CHANGED, 2, 4, key_of(7)),
    Case("another number of rows", link_of(2, row_count=2), FaultKind.LINK_CHANGED, 2, 4, key_of(4)),
    Case("another number of rows before", link_of(2, rows_before=4), FaultKind.LINK_CHANGED, 2, 4, key_of(4)),
    Case("another time", link_of(2, sealed_at="1763820600.000000"), FaultKind.LINK_CHANGED, 2, 4, key_of(4)),
    Case("another seal", link_of(2, seal=bytes(32)), FaultKind.LINK_CHANGED, 2, 4, key_of(4)),
    Case("another former", link_of(2, former=bytes(32)), FaultKind.LINK_CHANGED, 2, 4, key_of(4)),
    Case("another end", link_of(2, last=chained(7).place), FaultKind.LINK_CHANGED, 2, 4, key_of(4)),
    Case("a later end", later_end, FaultKind.LINK_CHANGED, 2, 4, key_of(4)),
    Case("a key nobody has", link_of(2, kid="mine"), FaultKind.KEY_UNKNOWN, 2, 4, key_of(4)),
    Case("no marks", link_of(2, marks=b""), FaultKind.LINK_CHANGED, 2, 4, key_of(4)),
    Case("half a mark", link_of(2, marks=bytes(17)), FaultKind.LINK_CHANGED, 2, 4, key_of(4)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_first_bad_row_is_named(case: Case) -> None:
    links = chain(3, 3, 3)
    case.change(links)
    assert checked(links) == Fault(case.kind, case.link_no, case.row_no, case.audit_id)


def test_an_emptied_link_has_no_row_to_name() -> None:
    ((link, _),) = chain(1)
    assert checked([(replace(link, marks=b""), [])]) == Fault(FaultKind.LINK_CHANGED, 1, 1, None)
    assert checked([(replace(link, marks=bytes(17)), [])]) == Fault(FaultKind.LINK_CHANGED, 1, 1, None)
    assert checked([(replace(link, number=2), [])]) == Fault(FaultKind.LINK_MISSING, 1, 1, None)
    assert checked([(link, [])], Keyring([])) == Fault(FaultKind.KEY_UNKNOWN, 1, 1, None)


def test_links_of_an_older_key_hold_after_a_rotation() -> None:
    younger = type(KEY)(KEY.purpose, "evidence-2", b"y" * 32, KEY.created_at)
    links = chain(2)
    rows = [chained(3)]
    links.append((next_link(rows, Head.of(links[0][0]), younger, sealed_at="1763820700.000000"), rows))
    assert checked(links, Keyring([younger, KEY])) is None
    assert NO_HEAD.rows == 0
