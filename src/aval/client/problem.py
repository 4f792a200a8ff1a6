"""Reading the body of an error (transfers.md §2.4, §6)."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from aval.client.answers import Pix, Ted
from aval.client.batch_answers import PixBatch, TedBatch
from aval.client.call import Reply
from aval.client.errors import Problem, RefusedItem, Snapshot, WrongField

Told = TypeVar("Told")


class _Body(msgspec.Struct):
    code: str
    title: str
    description: str
    translation: str
    extra_fields: dict[str, Any]


class _Extra(msgspec.Struct):
    items: list[RefusedItem] = []
    errors: list[WrongField] = []


_decode_body = msgspec.json.Decoder(_Body, float_hook=Decimal).decode
_SNAPSHOTS: tuple[tuple[str, type[Snapshot]], ...] = (  # batches first: a rejected resend tells them under both names
    ("pix_transfer_batch_data", PixBatch),
    ("ted_batch_data", TedBatch),
    ("pix_transfer_data", Pix),
    ("ted_data", Ted),
)


def read_problem(reply: Reply) -> Problem | None:
    """What an answer that is no success tells; None if it is not Aval's."""
    body = _read(_decode_body, reply.body)
    if body is None:
        return None
    told = _read(lambda extra: msgspec.convert(extra, _Extra), body.extra_fields) or _Extra()
    return Problem(
        status=reply.status,
        code=body.code,
        title=body.title,
        description=body.description,
        translation=body.translation,
        extra_fields=body.extra_fields,
        snapshot=_snapshot(body.extra_fields),
        refused_items=tuple(told.items),
        wrong_fields=tuple(told.errors),
        retry_after_s=reply.retry_after_s,
    )


def _snapshot(extra_fields: dict[str, Any]) -> Snapshot | None:
    for name, kind in _SNAPSHOTS:
        if name in extra_fields:  # one of another shape stays in extra_fields
            return _read(lambda told: msgspec.convert(told, kind), extra_fields[name])  # noqa: B023 – read at once
    return None


def _read(decode: Callable[[Any], Told], told: Any) -> Told | None:
    try:
        return decode(told)
    except msgspec.DecodeError:
        return None
