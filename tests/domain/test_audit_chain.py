"""The chain is made of keyed hashes over all there is; its form may not change unseen, for it lies in databases."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from uuid import UUID

from aval.domain.audit_chain import NO_HEAD, ChainedRow, Head, Link, mark_of, next_link, seal_of
from aval.domain.keyring import Key, Purpose

KEY = Key(Purpose.EVIDENCE, "evidence-1", bytes(range(32)), datetime(2026, 1, 1, tzinfo=UTC))
INTEGRATOR = "00000000-0000-4000-8000-00000000000a"


def chained(number: int, **change: object) -> ChainedRow:
    audit_id = f"00000000-0000-4000-8000-{number:012x}"
    told = (1_000 + number, INTEGRATOR, audit_id, f"1763820652.{number:06d}", "admin:ana", "account.created", None)
    return ChainedRow(*told, '{"name": "Conceição"}', "tests")._replace(**change)


def chain(*counts: int) -> list[tuple[Link, list[ChainedRow]]]:
    made, head = [], NO_HEAD
    for count in counts:
        rows = [chained(head.rows + number) for number in range(1, count + 1)]
        link = next_link(rows, head, KEY, sealed_at="1763820700.000000")
        made.append((link, rows))
        head = Head.of(link)
    return made


def test_marks_and_seals_are_what_they_were_when_the_first_was_made() -> None:
    key = hmac.digest(bytes(range(32)), b"aval-audit-v1", hashlib.sha256)
    row = chained(7, operation_id=INTEGRATOR)
    told = json.dumps(["row", 7, *row], ensure_ascii=False, separators=(",", ":")).encode()
    assert mark_of(KEY, 7, row) == hmac.digest(key, told, hashlib.sha256)[:16]

    ((first, _), (second, rows)) = chain(2, 1)
    assert second.marks == UUID(rows[0].audit_id).bytes + mark_of(KEY, 3, rows[0])
    digest = base64_text(hashlib.sha256(second.marks).digest())
    told_link = ["link", 2, 2, 1, *rows[0].place, digest, base64_text(first.seal), "evidence-1", "1763820700.000000"]
    assert second.seal == hmac.digest(key, json.dumps(told_link, separators=(",", ":")).encode(), hashlib.sha256)


def base64_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_no_two_rows_have_one_mark() -> None:
    row = chained(1)
    others = [row._replace(actor="admin:an", action="aaccount.created"), row._replace(details="{}")]
    others += [row._replace(operation_id="null"), row._replace(at="1763820652.000002"), row._replace(xact=1)]
    marks = {mark_of(KEY, 1, row), mark_of(KEY, 2, row), *(mark_of(KEY, 1, other) for other in others)}
    assert len(marks) == 2 + len(others)


def test_a_seal_covers_every_part_of_its_link() -> None:
    ((link, _),) = chain(2)
    others = {
        "number": 2,
        "rows_before": 1,
        "row_count": 1,
        "last": chained(1).place,
        "marks": bytes(64),
        "former": b"1" * 32,
        "kid": "evidence-2",
        "sealed_at": "1763820700.000001",
    }
    assert set(others) == set(link.__struct_fields__) - {"seal"}
    changed = [Link(**{**link_fields(link), name: value}) for name, value in others.items()]
    assert len({seal_of(KEY, each) for each in [link, *changed]}) == len(others) + 1


def link_fields(link: Link) -> dict[str, object]:
    return {name: getattr(link, name) for name in link.__struct_fields__}
