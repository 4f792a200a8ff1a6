"""What Aval answers, as values: keys are UUIDs, times aware, amounts exact decimals; unknown fields are ignored.

Names are the wire's without their family, so that a Pix and a TED are read alike: `key` is `pix_transfer_key` or
`ted_key`, `status` is `pix_transfer_status` or `ted_status`. What only some answers tell is None in the others.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

import msgspec

Row = TypeVar("Row")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers; secrets, destinations and documents are not printed."""

    _hidden: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({', '.join(shown)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name not in self._hidden]


class Page(Answer, Generic[Row], frozen=True, kw_only=True):
    """One page of a list; the last one has no `next_page`."""

    rows: list[Row]
    number: int
    next_page: int | None
    size: int


class Approval(Answer, frozen=True, kw_only=True):
    """The second factor of a transfer that waits for it."""

    method: str
    masked_destination: str | None
    generation: int
    attempts_remaining: int | None
    expires_at: datetime
    can_resend_at: datetime | None
    approval_deadline: datetime


class Pix(Answer, frozen=True, kw_only=True, rename={"key": "pix_transfer_key", "status": "pix_transfer_status"}):
    """A Pix as create, validate, resend, cancel and a refusal's snapshot tell it."""

    request_control_key: UUID
    key: UUID
    status: str
    created_at: datetime
    end_to_end_id: str | None = None
    transaction_key: UUID | None = None
    approval: Approval | None = None


class PixPayee(Answer, frozen=True, kw_only=True):
    """The payee of a Pix, the document masked; None where it is not known."""

    account_branch: str | None = None
    account_number: str | None = None
    account_digit: str | None = None
    account_type: str | None = None
    ispb: str | None = None
    financial_institution_name: str | None = None
    owner_name: str | None = None
    owner_document_number: str | None = None
    owner_person_type: str | None = None
    pix_key: str | None = None

    _hidden: ClassVar = frozenset({"owner_document_number", "pix_key"})


class PixDetail(
    Pix,
    frozen=True,
    kw_only=True,
    rename={
        "batch_key": "pix_transfer_batch_key",
        "amount": "transfer_amount",
        "fee": "fee_amount",
        "message": "pix_message",
    },
):
    """A Pix as it is read and listed."""

    batch_key: UUID | None
    account_key: UUID
    pix_transfer_type: str
    message: str | None
    amount: Decimal
    fee: Decimal
    receiver_conciliation_id: str | None
    rejection_reason: str | None
    updated_at: datetime
    target_account: PixPayee


class Ted(
    Answer,
    frozen=True,
    kw_only=True,
    rename={"key": "ted_key", "status": "ted_status", "amount": "transaction_amount", "fee": "fee_amount"},
):
    """A TED as create, validate, resend, cancel and a refusal's snapshot tell it."""

    request_control_key: UUID
    key: UUID
    amount: Decimal
    fee: Decimal
    status: str
    created_at: datetime
    transaction_key: UUID | None = None
    approval: Approval | None = None


class TedPayee(Answer, frozen=True, kw_only=True):
    """The payee of a TED."""

    account_branch: str
    account_number: str
    account_digit: str
    ispb: str
    owner_document_number: str
    owner_name: str

    _hidden: ClassVar = frozenset({"owner_document_number"})


class RefusalReason(Answer, frozen=True, kw_only=True):
    """Why a TED was rejected; all None if it was not."""

    refusal_code: int | None = None
    enumerator: str | None = None
    description: str | None = None


class TedDetail(Ted, frozen=True, kw_only=True, rename={"batch_key": "ted_batch_key"}):
    """A TED as it is read and listed."""

    batch_key: UUID | None
    account_key: UUID
    updated_at: datetime
    target_account: TedPayee
    refusal_reason: RefusalReason


class Account(Answer, frozen=True, kw_only=True, rename={"key": "account_key", "status": "account_status"}):
    """An account and its balance."""

    key: UUID
    account_branch: str
    account_number: str
    account_digit: str
    owner_document_number: str
    owner_name: str
    status: str
    balance: Decimal
    created_at: datetime

    _hidden: ClassVar = frozenset({"owner_document_number"})


class NewWebhookEndpoint(Answer, frozen=True, kw_only=True, rename={"key": "webhook_endpoint_key"}):
    """A new target and its signing secret, which is told this once."""

    key: UUID
    secret: str

    _hidden: ClassVar = frozenset({"secret"})


class WebhookSecret(Answer, frozen=True, kw_only=True):
    """A new signing secret, told this once; the old one signs for 24 hours more."""

    secret: str

    _hidden: ClassVar = frozenset({"secret"})


class WebhookEndpoint(Answer, frozen=True, kw_only=True, rename={"key": "webhook_endpoint_key"}):
    """A target of webhooks."""

    key: UUID
    url: str
    event_types: list[str]
    enabled: bool
    created_at: datetime


class Callback(Answer, frozen=True, kw_only=True, rename={"key": "callback_key", "status": "callback_status"}):
    """One event on its way to one target."""

    key: UUID
    status: str


class Event(Answer, frozen=True, kw_only=True, rename={"key": "event_key"}):
    """Something that happened to an operation, and who was told."""

    key: UUID
    event_type: str
    status: str
    origin_enumerator: str
    origin_key: UUID
    callbacks: list[Callback]


class InboxMessage(Answer, frozen=True, kw_only=True, rename={"key": "message_key"}):
    """A message of the sandbox; its text holds the token."""

    key: UUID
    operation: str
    operation_key: UUID
    generation: int
    channel: str
    destination: str
    subject: str | None
    text: str | None
    delivery_status: str
    created_at: datetime

    _hidden: ClassVar = frozenset({"destination", "text"})


class Webhook(Answer, frozen=True, kw_only=True):
    """A webhook whose signature was right: order by `sequence`, and handle each `event_id` once."""

    webhook_type: str
    webhook_datetime: datetime
    event_id: UUID
    sequence: int
    correlation_id: str
    data: dict[str, Any]
