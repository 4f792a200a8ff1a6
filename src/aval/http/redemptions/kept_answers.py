"""Answers about purchases as they are kept under an Idempotency-Key: sealed, for they tell who the customer is."""

from msgspec.structs import replace

from aval.domain.keyring import Keyring
from aval.domain.redemption_call import RedemptionCall
from aval.http.edge import Answer
from aval.operations.confirm_redemption import Kept
from aval.operations.fresh import sealed

REPLAYED = {"idempotent-replayed": "true"}


def sealed_answer(keyring: Keyring, call: RedemptionCall, kept: Kept) -> Kept:
    """What the database keeps of an answer."""
    return replace(kept, body=sealed(keyring, kept.body.decode(), associated=_place_of(call)))


def opened_answer(keyring: Keyring, call: RedemptionCall, kept: Kept) -> Answer:
    """The answer again, byte for byte."""
    body = keyring.opened(kept.body, associated=_place_of(call)).encode()
    return Answer(kept.status, body, REPLAYED if kept.is_replay else {})


def _place_of(call: RedemptionCall) -> str:
    return f"idempotency_keys/{call.caller.tenant.key}{call.path}/{call.idempotency_key}"
