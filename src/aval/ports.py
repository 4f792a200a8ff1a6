"""What the core needs from outside: channels, rails and one way to call another HTTP server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Any, BinaryIO, Protocol
from uuid import UUID

from aval.domain.money import Brl
from aval.domain.purchase_request import ItemVerdict, PurchaseRequest, RiskDecision


class DeliveryOutcome(Enum):
    """How one try to hand a message to a provider ended."""

    DELIVERED = "delivered"
    REFUSED = "refused"  # for good: the provider will never take this message
    FAILED = "failed"  # worth another try


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A rendered message; `text` may hold a token, so neither it nor the destination prints."""

    integrator_key: UUID
    message_key: UUID
    destination: str = field(repr=False)
    subject: str | None = field(repr=False)
    text: str = field(repr=False)
    html: str | None = field(repr=False)
    correlation_id: str
    try_number: int = 1


@dataclass(frozen=True, slots=True)
class Delivery:
    """The provider's word; `detail` is a short keyword that is safe to store and log."""

    outcome: DeliveryOutcome
    detail: str = ""


class Channel(Protocol):
    """Carries a message to a phone or a mailbox."""

    async def send(self, message: OutgoingMessage) -> Delivery:
        """Hand over one message; never raises for what a provider can do."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


class RailStatus(StrEnum):
    """What a rail says of one settlement."""

    PENDING = "pending"
    SENT = "sent"
    REJECTED = "rejected"
    RETURNED = "returned"
    NOT_FOUND = "not_found"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SettlementOrder:
    """One item to be executed; `rail_reference` is the same on every send and query."""

    integrator_key: UUID
    rail_reference: UUID
    fence: int
    send_number: int  # 1 on the first send; a query carries the number of sends so far
    operation: str
    operation_key: UUID
    account_key: UUID
    amount: Brl
    end_to_end_id: str | None
    pix_message: str | None
    target_pix_key: str | None
    target_account: Mapping[str, str] | None
    now: datetime
    later_at: datetime  # sandbox only: when "later" of transfers.md §10 has come
    held_until_ns: int | None = None  # on the monotonic clock; the end of the lease, after which nothing is sent


@dataclass(frozen=True, slots=True)
class RailAnswer:
    """The rail's word on one settlement; `ask_again_at` asks the worker for a query at that time."""

    status: RailStatus
    transaction_key: UUID | None = None
    rejection_reason: str | None = None
    refusal: Mapping[str, Any] | None = None  # of a returned TED: refusal_code, enumerator, description
    ask_again_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PayeeFound:
    """Who a Pix key belongs to."""

    target_account: Mapping[str, str]
    financial_institution_name: str | None


class RailSilent(Exception):
    """The rail gave no answer to a look-up in time."""


class Rail(Protocol):
    """The network, or the integrator's own core, that makes the final move."""

    async def settle(self, order: SettlementOrder) -> RailAnswer:
        """Send once; a time-out or an unreadable answer is UNKNOWN."""
        ...

    async def query(self, order: SettlementOrder) -> RailAnswer:
        """Ask what became of a reference; NOT_FOUND only when the rail says it never saw it."""
        ...

    async def find_pix_key(self, pix_key: str) -> PayeeFound | None:
        """Look up the owner of a key, None if unknown; raises RailSilent after 2 s."""
        ...


@dataclass(frozen=True, slots=True)
class RailTarget:
    """Where the settlements of one integrator go; no `url` means the sandbox rail."""

    integrator_key: UUID
    url: str | None
    secret: str | None = field(repr=False)


class Rails(Protocol):
    """Finds the rail of an integrator."""

    def rail_of(self, target: RailTarget) -> Rail:
        """The rail for this target; cheap, called for every settlement."""
        ...


@dataclass(frozen=True, slots=True)
class OutboundCall:
    """One HTTP request to a server that is not ours."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    timeout: timedelta
    answer_bytes_max: int = 65_536
    not_after_ns: int | None = None  # on the monotonic clock; a body that is not on its way by then stays here


@dataclass(frozen=True, slots=True)
class OutboundAnswer:
    """Status and (cut) body, or no status and a keyword that says why."""

    status: int | None
    body: bytes = field(default=b"", repr=False)
    error: str = ""  # target_not_allowed, timeout, connection_failed, redirect, tls_failed, too_large
    retry_after: timedelta | None = None


class Outbound(Protocol):
    """Calls foreign servers under the target rules of promises.md §4.8."""

    async def call(self, call: OutboundCall) -> OutboundAnswer:
        """One request, no redirects, connected only to a checked address; never raises for what a server can do."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


class DecoderBusy(Exception):
    """More files wait to be decoded than this machine takes on now."""


class FileDecoder(Protocol):
    """Decodes files of strangers where they can do no harm."""

    async def rewrite(self, source: BinaryIO, target: BinaryIO, media_type: str) -> bool:
        """Write what a file shows, without anything else of it; false if it cannot be read. Raises DecoderBusy."""
        ...


class ItemValidator(Protocol):
    """Says whether the items of a purchase may be redeemed; asked before its transaction, for 2 s at most."""

    async def validate(self, request: PurchaseRequest) -> tuple[ItemVerdict, str]:
        """The verdict, and the SKU if its quantity is limited; may raise: the purchase is then not completed."""
        ...


class RiskAdapter(Protocol):
    """Says whether a purchase looks like its participant's; asked before its transaction, for 2 s at most."""

    async def decide(self, request: PurchaseRequest) -> RiskDecision:
        """The decision; may raise: it then is `unspecified`."""
        ...
