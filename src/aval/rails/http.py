"""The integrator's own core as rail, spoken to over signed HTTP (transfers.md §8.4)."""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from aval.domain.errors import Refusal, schema_refusal
from aval.domain.signature import signed_headers
from aval.domain.text import clean
from aval.ports import (
    Outbound,
    OutboundAnswer,
    OutboundCall,
    PayeeFound,
    Rail,
    RailAnswer,
    RailSilent,
    RailStatus,
    RailTarget,
    SettlementOrder,
)
from aval.rails.sandbox import SandboxRail

SETTLEMENT_TIMEOUT = timedelta(seconds=10)  # spec transfers.md §8.4
LOOKUP_TIMEOUT = timedelta(seconds=2)  # spec transfers.md §3.1
NAME_CHARACTERS_MAX = 150  # spec transfers.md §3.1

_UNKNOWN = RailAnswer(RailStatus.UNKNOWN)
_NEEDED_FIELD = {"sent": "transaction_key", "rejected": "rejection_reason", "returned": "refusal_code"}
_T = TypeVar("_T")

RejectionReason = Literal["target_account_not_found", "rail_refused"]
_Short = Annotated[str, msgspec.Meta(max_length=20)]


class _SettlementWord(msgspec.Struct, frozen=True):
    """A core may say more than it must in an answer; what is not named here is passed over."""

    settlement_status: Literal["pending", "sent", "rejected"]
    transaction_key: UUID | None = None
    rejection_reason: RejectionReason | None = None


class _Callback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rail_reference: UUID
    settlement_status: Literal["pending", "sent", "rejected", "returned"]
    transaction_key: UUID | None = None
    rejection_reason: RejectionReason | None = None
    refusal_code: Annotated[int, msgspec.Meta(ge=0, le=999_999)] | None = None
    enumerator: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_]{1,80}\Z")] | None = None
    description: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None


class _TargetAccount(msgspec.Struct, frozen=True):
    account_branch: _Short
    account_number: _Short
    account_digit: _Short
    owner_document_number: _Short
    owner_name: str
    ispb: _Short
    account_type: _Short


class _PixKeyOwner(msgspec.Struct, frozen=True):
    target_account: _TargetAccount
    financial_institution_name: str | None = None


class RailCallback(NamedTuple):
    """What a core tells of one settlement on its own account."""

    rail_reference: UUID
    answer: RailAnswer


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class HttpRail:
    """One integrator's core; see `ports.Rail`. Everything but a documented answer is UNKNOWN."""

    outbound: Outbound
    url: str
    secret: str = field(repr=False)
    clock: Callable[[], datetime] = _utc_now

    async def settle(self, order: SettlementOrder) -> RailAnswer:
        """POST the item; the rail reference and the fence tell the core what it has seen before."""
        body = {
            "rail_reference": order.rail_reference,
            "fence": order.fence,
            "operation": order.operation,
            "operation_key": order.operation_key,
            "account_key": order.account_key,
            "transaction_amount": msgspec.Raw(order.amount.wire().encode()),
            "end_to_end_id": order.end_to_end_id,
            "pix_message": order.pix_message,
            "target_pix_key": order.target_pix_key,
            "target_account": order.target_account,
        }
        answer = await self._call("POST", "/settlements", body, SETTLEMENT_TIMEOUT, not_after_ns=order.held_until_ns)
        return _settlement_answer(answer)

    async def query(self, order: SettlementOrder) -> RailAnswer:
        """GET the item by its reference; 404 is the core's word that it never saw it."""
        answer = await self._call("GET", f"/settlements/{order.rail_reference}", None, SETTLEMENT_TIMEOUT)
        if answer.status == 404:
            return RailAnswer(RailStatus.NOT_FOUND)
        return _settlement_answer(answer)

    async def find_pix_key(self, pix_key: str) -> PayeeFound | None:
        """POST the key; raises RailSilent for every answer but an owner or 404."""
        answer = await self._call("POST", "/pix_keys", {"target_pix_key": pix_key}, LOOKUP_TIMEOUT)
        if answer.status == 404:
            return None
        owner = _decoded(answer, _PixKeyOwner)
        if owner is None or not (name := _shown(owner.target_account.owner_name)):
            raise RailSilent
        account = msgspec.structs.asdict(owner.target_account) | {"owner_name": name}
        if any(clean(text) is None for text in account.values()):
            raise RailSilent
        return PayeeFound(account, _shown(owner.financial_institution_name or "") or None)

    async def _call(
        self,
        method: str,
        path: str,
        content: Mapping[str, Any] | None,
        timeout: timedelta,
        *,
        not_after_ns: int | None = None,
    ) -> OutboundAnswer:
        body = b"" if content is None else msgspec.json.encode(content)
        headers = signed_headers([self.secret], str(uuid.uuid4()), self.clock(), body)
        if content is not None:
            headers["Content-Type"] = "application/json"
        url = self.url.rstrip("/") + path
        return await self.outbound.call(OutboundCall(method, url, headers, body, timeout, not_after_ns=not_after_ns))


class RailRegistry:
    """Finds the rail of an integrator; see `ports.Rails`."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._sandbox = SandboxRail()

    def rail_of(self, target: RailTarget) -> Rail:
        """The sandbox without a URL, else the core behind it."""
        if target.url is None:
            return self._sandbox
        assert target.secret is not None
        return HttpRail(self._outbound, target.url, target.secret)


def callback_of(body: bytes) -> RailCallback:
    """Read the body of a callback; raises Refusal for anything but a documented one."""
    if not _has_one_reading(body):
        raise Refusal("qit.syntax_error")
    try:
        told = msgspec.json.decode(body, type=_Callback)
    except msgspec.ValidationError:
        raise Refusal("qit.schema_error") from None
    if told.description is not None and clean(told.description) is None:
        raise schema_refusal(("description", "invalid_value"))
    answer = _returned(told) if told.settlement_status == "returned" else _settled(told)
    if answer is None:
        raise schema_refusal((_NEEDED_FIELD[told.settlement_status], "missing"))
    return RailCallback(told.rail_reference, answer)


def _has_one_reading(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
        json.loads(body.decode(), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError):
        return False
    return True


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError
    return content


def _settlement_answer(answer: OutboundAnswer) -> RailAnswer:
    told = _decoded(answer, _SettlementWord)
    return _settled(told) or _UNKNOWN if told else _UNKNOWN


def _settled(told: _SettlementWord | _Callback) -> RailAnswer | None:
    status = RailStatus(told.settlement_status)
    if status is RailStatus.SENT and told.transaction_key:
        return RailAnswer(status, transaction_key=told.transaction_key)
    if status is RailStatus.REJECTED and told.rejection_reason:
        return RailAnswer(status, rejection_reason=told.rejection_reason)
    return RailAnswer(status) if status is RailStatus.PENDING else None


def _returned(told: _Callback) -> RailAnswer | None:
    refusal = {name: getattr(told, name) for name in ("refusal_code", "enumerator", "description")}
    return None if None in refusal.values() else RailAnswer(RailStatus.RETURNED, refusal=refusal)


def _decoded(answer: OutboundAnswer, kind: type[_T]) -> _T | None:
    """Read a whole 200 answer; None for any other, so that a foreign server can never make a worker fail."""
    if answer.status != 200 or answer.error:
        return None
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (ValueError, RecursionError):
        return None


def _shown(name: str) -> str:
    """Names from a rail are shown to people: without hidden characters, and capped (promises.md §4.6)."""
    capped = name[: 2 * NAME_CHARACTERS_MAX]
    return "".join(letter for letter in capped if letter == " " or clean(letter)).strip()[:NAME_CHARACTERS_MAX]
