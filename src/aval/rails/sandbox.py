"""The sandbox rail: what it says follows from the order alone (transfers.md §10), and it remembers nothing."""

import hashlib
from collections.abc import Callable, Mapping
from uuid import UUID

from aval.ports import PayeeFound, RailAnswer, RailSilent, RailStatus, SettlementOrder

_Outcome = Callable[[SettlementOrder], RailAnswer]

SCRIPTED_ISPB_PREFIX = "999999"
UNKNOWN_PIX_KEY = "nao.existe@example.com"
SILENT_PIX_KEY = "sem.resposta@example.com"

_PAYEE = PayeeFound(
    target_account={
        "account_branch": "0001",
        "account_number": "1234567",
        "account_digit": "8",
        "account_type": "checking_account",
        "ispb": "87654321",
        "owner_document_number": "52998224725",
        "owner_name": "Favorecido Teste",
    },
    financial_institution_name="Banco Teste",
)
_RETURNED = {
    "refusal_code": 1,
    "enumerator": "conta_destinatario_encerrada",
    "description": "Target account is closed",
}


class SandboxRail:
    """Plays the outcome that the ISPB or the centavos of an order ask for; see `ports.Rail`."""

    async def settle(self, order: SettlementOrder) -> RailAnswer:
        """Answer the send; a time-out is said at once instead of waited for."""
        return _AT_FIRST.get(_number(order), _sent)(order)

    async def query(self, order: SettlementOrder) -> RailAnswer:
        """Answer as the send until "later" has come."""
        if order.send_number == 0:
            return RailAnswer(RailStatus.NOT_FOUND)
        table = _AT_FIRST if order.now < order.later_at else _LATER
        return table.get(_number(order), _sent)(order)

    async def find_pix_key(self, pix_key: str) -> PayeeFound | None:
        """Every key has the same owner but one without owner and one without answer."""
        if pix_key == SILENT_PIX_KEY:
            raise RailSilent
        return None if pix_key == UNKNOWN_PIX_KEY else _PAYEE


def _number(order: SettlementOrder) -> int:
    ispb = (order.target_account or {}).get("ispb", "")
    return int(ispb[-2:]) if ispb.startswith(SCRIPTED_ISPB_PREFIX) else order.amount.centavos % 100


def _sent(order: SettlementOrder) -> RailAnswer:
    return RailAnswer(RailStatus.SENT, transaction_key=_transaction_key(order))


def _sent_and_asked_again(order: SettlementOrder) -> RailAnswer:
    return RailAnswer(RailStatus.SENT, transaction_key=_transaction_key(order), ask_again_at=order.later_at)


def _accepted(order: SettlementOrder) -> RailAnswer:
    return RailAnswer(RailStatus.PENDING, ask_again_at=order.later_at)


def _timed_out(order: SettlementOrder) -> RailAnswer:
    return RailAnswer(RailStatus.UNKNOWN, ask_again_at=order.later_at)


def _timed_out_once(order: SettlementOrder) -> RailAnswer:
    return _timed_out(order) if order.send_number == 1 else _sent(order)


def _unknown_once(order: SettlementOrder) -> RailAnswer:
    return RailAnswer(RailStatus.NOT_FOUND) if order.send_number == 1 else _sent(order)


def _never_answered(_: SettlementOrder) -> RailAnswer:
    return RailAnswer(RailStatus.UNKNOWN)


def _target_unknown(_: SettlementOrder) -> RailAnswer:
    return RailAnswer(RailStatus.REJECTED, rejection_reason="target_account_not_found")


def _refused(_: SettlementOrder) -> RailAnswer:
    return RailAnswer(RailStatus.REJECTED, rejection_reason="rail_refused")


def _returned_if_ted(order: SettlementOrder) -> RailAnswer:
    if not order.operation.startswith("ted"):
        return _sent(order)
    return RailAnswer(RailStatus.RETURNED, transaction_key=_transaction_key(order), refusal=_RETURNED)


def _transaction_key(order: SettlementOrder) -> UUID:
    """The same on every answer about one item, in the shape of a version 4 UUID."""
    return UUID(bytes=hashlib.sha256(b"sandbox transaction " + order.rail_reference.bytes).digest()[:16], version=4)


_AT_FIRST: Mapping[int, _Outcome] = {
    91: _accepted,
    92: _accepted,
    93: _target_unknown,
    94: _timed_out,
    95: _sent_and_asked_again,
    96: _timed_out_once,
    97: _never_answered,
    98: _sent_and_asked_again,
    99: _refused,
}
_LATER: Mapping[int, _Outcome] = {
    92: _refused,
    93: _target_unknown,
    95: _returned_if_ted,
    96: _unknown_once,
    97: _never_answered,
    99: _refused,
}
