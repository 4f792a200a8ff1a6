"""Bodies of Pix requests, single or item of a batch, and what is wrong with them (transfers.md §3.1, §3.2, §3.3)."""

from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from aval.domain.batch import ITEMS_MAX
from aval.domain.errors import Refusal
from aval.domain.money import Brl
from aval.domain.pix_key import is_end_to_end_id, is_receiver_conciliation_id, pix_key_of
from aval.domain.text import clean, has_emoji
from aval.domain.transfer import Payee
from aval.http.transfer_body import Errors, TargetAccount, TfaInfo, one_spelling, payee_of_account, read_target

MESSAGE_CHARACTERS_MAX = 140
PIX_KEY_CHARACTERS_MAX = 100
ACCOUNT_TYPES = frozenset({"checking_account", "salary_account", "saving_account", "payment_account"})
MANUAL = "manual"
QR_CODES = ("static_qr_code", "dynamic_qr_code")


class PixItemBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A Pix of a batch."""

    request_control_key: str
    pix_transfer_type: Literal["key", "manual", "static_qr_code", "dynamic_qr_code"]
    transaction_amount: msgspec.Raw
    pix_message: str | None = None
    target_pix_key: str | None = None
    end_to_end_id: str | None = None
    receiver_conciliation_id: str | None = None
    target_account: TargetAccount | None = None


class PixTransferBody(PixItemBody, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A Pix request."""

    tfa_info: TfaInfo | None = None


class PixTransferBatchBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A request for many Pix at once."""

    request_control_key: str
    pix_transfers: Annotated[list[PixItemBody], msgspec.Meta(min_length=1, max_length=ITEMS_MAX)]
    tfa_info: TfaInfo | None = None


@dataclass(frozen=True, slots=True)
class CheckedPix:
    """A body that fits the schema; `refusal` is a Pix key of no valid form, whose turn comes after the account's."""

    body: PixItemBody
    request_control_key: UUID
    amount: Brl
    target: dict[str, str] | None
    refusal: Refusal | None

    @property
    def pix_key(self) -> str | None:
        """The key whose owner is the payee; None where the request names the payee, or no such key can exist."""
        return self.body.target_pix_key if self.refusal is None else None

    def judged(self, owner: Payee | None) -> tuple[Payee | None, Refusal | None]:
        """The payee, or why there is none; `owner` is whose the Pix key is, None if nobody's."""
        if self.refusal is not None:
            return None, self.refusal
        if self.target is not None:
            return payee_of_account(self.target), None
        if owner is None:
            return None, Refusal("pix.invalid_pix_key", extra_fields={"reason": "not_found"})
        return owner, None if is_end_to_end_id(self.body.end_to_end_id or "") else Refusal("pix.invalid_end_to_end_id")


def check_pix(errors: Errors, body: PixItemBody) -> CheckedPix:
    """Note what does not fit the schema; every member is left in its one spelling."""
    request_control_key = errors.uuid(body.request_control_key, "request_control_key")
    body.request_control_key = str(request_control_key)
    amount = errors.amount(body.transaction_amount, "transaction_amount")
    body.transaction_amount = one_spelling(amount)
    _check_message(errors, body)
    target = None
    if body.pix_transfer_type == MANUAL:
        _refuse_given(errors, body, ("target_pix_key", "end_to_end_id", "receiver_conciliation_id"))
        if body.target_account is None:
            errors.add("target_account", "missing")
        else:
            target = read_target(errors, body.target_account, "pix", ACCOUNT_TYPES)
    else:
        _refuse_given(errors, body, ("target_account",))
        _check_key(errors, body)
    return CheckedPix(body, request_control_key, amount, target, _refused_key(body))


def _refuse_given(errors: Errors, body: PixItemBody, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(body, name) is not None:
            errors.add(name, "not_allowed")


def _check_message(errors: Errors, body: PixItemBody) -> None:
    if body.pix_message is None:
        return
    trimmed = clean(body.pix_message)
    if trimmed is None or len(trimmed) > MESSAGE_CHARACTERS_MAX or has_emoji(trimmed):
        errors.add("pix_message")
    body.pix_message = trimmed or None


def _check_key(errors: Errors, body: PixItemBody) -> None:
    for name in ("target_pix_key", "end_to_end_id"):
        if getattr(body, name) is None:
            errors.add(name, "missing")
    if body.target_pix_key is not None:
        text = clean(body.target_pix_key)
        if text is None or len(text) > PIX_KEY_CHARACTERS_MAX:
            errors.add("target_pix_key")
        body.target_pix_key = text
    if body.end_to_end_id is not None:
        body.end_to_end_id = clean(body.end_to_end_id)
        if body.end_to_end_id is None:
            errors.add("end_to_end_id")
    if body.pix_transfer_type in QR_CODES:
        _check_conciliation(errors, body)
    else:
        _refuse_given(errors, body, ("receiver_conciliation_id",))


def _check_conciliation(errors: Errors, body: PixItemBody) -> None:
    if body.receiver_conciliation_id is None:
        errors.add("receiver_conciliation_id", "missing")
        return
    body.receiver_conciliation_id = body.receiver_conciliation_id.strip(" ")
    if not is_receiver_conciliation_id(body.receiver_conciliation_id):
        errors.add("receiver_conciliation_id")


def _refused_key(body: PixItemBody) -> Refusal | None:
    """A Pix key of no valid form: a code of its own, told after the account's checks."""
    if body.pix_transfer_type == MANUAL or body.target_pix_key is None:
        return None
    key = pix_key_of(body.target_pix_key)
    if key is None:
        return Refusal("pix.invalid_pix_key", extra_fields={"reason": "format"})
    body.target_pix_key = key.text
    return None
