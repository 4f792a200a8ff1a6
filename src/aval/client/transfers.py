"""The calls of Pix and TED (transfers.md §3.1, §4).

Creating repeats under its `request_control_key`; validating, resending and cancelling under an Idempotency-Key that is
made once per logical call. Both may be given: a caller who has stored them can repeat the call after a crash.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, Generic, Literal, Self, TypeVar
from uuid import uuid4

import msgspec

from aval.client.amounts import Amount
from aval.client.answers import Page, Pix, PixDetail, Ted, TedDetail
from aval.client.call import Call, Key, ids_of, json_body, key_text, once
from aval.client.paging import page_reader, query_of
from aval.client.requests import Approver, PixTarget, TargetAccount, TokenChannel, pix_fields, ted_fields

Short = TypeVar("Short")
Detail = TypeVar("Detail")


@dataclass(frozen=True, slots=True)
class TransferCalls(Generic[Short, Detail]):
    """The calls that all kinds have alike; `kind` is what paths say."""

    kind: Literal["pix_transfer", "pix_transfer_batch", "ted", "ted_batch"]
    plural: str
    read: Callable[[bytes], Short]
    read_detail: Callable[[bytes], Detail]
    read_page: Callable[[bytes], Page[Detail]]
    last_of_read: tuple[str, ...] = ("outgoing",)

    @classmethod
    def of(
        cls,
        kind: Literal["pix_transfer", "pix_transfer_batch", "ted", "ted_batch"],
        plural: str,
        short: type[Short],
        detail: type[Detail],
        **rest: Any,
    ) -> Self:
        """The calls of a kind whose answers are of these types."""
        decoders = msgspec.json.Decoder(short).decode, msgspec.json.Decoder(detail).decode
        return cls(kind, plural, *decoders, page_reader(detail), **rest)

    def validate(
        self,
        account_key: Key,
        key: Key,
        token: str | None = None,
        *,
        idempotency_key: str | None = None,
        correlation_id: str | None = None,
    ) -> Call[Short]:
        """Hand in the approver's token; none after an approval on a device."""
        ids = once(correlation_id, idempotency_key)
        return Call("PUT", self.path(account_key, key, "validate_token"), self.read, json_body(token=token), ids=ids)

    def resend(
        self,
        account_key: Key,
        key: Key,
        contact_type: TokenChannel | None = None,
        *,
        idempotency_key: str | None = None,
        correlation_id: str | None = None,
    ) -> Call[Short]:
        """Have a new token sent, over another channel if one is named; the old one is void."""
        ids = once(correlation_id, idempotency_key)
        body = json_body(contact_type=contact_type)
        return Call("PATCH", self.path(account_key, key, "resend_token"), self.read, body, ids=ids)

    def cancel(
        self,
        account_key: Key,
        key: Key,
        *,
        idempotency_key: str | None = None,
        correlation_id: str | None = None,
    ) -> Call[Short]:
        """Cancel a transfer or batch that waits for its approval."""
        ids = once(correlation_id, idempotency_key)
        return Call("PATCH", self.path(account_key, key, "cancel"), self.read, ids=ids)

    def get(self, account_key: Key, key: Key) -> Call[Detail]:
        """Read one transfer or batch."""
        return Call("GET", self.path(account_key, key, *self.last_of_read), self.read_detail)

    def list_by_creation(
        self,
        account_key: Key,
        *,
        request_control_key: Key | None = None,
        status: str | None = None,
        date_from: date | None = None,
        date_to: date | None = None,
        page: int | None = None,
        page_size: int | None = None,
    ) -> Call[Page[Detail]]:
        """List those of an account by creation, days as in Brasília, at most 30 a page."""
        return self.list_where(
            account_key,
            request_control_key=optional_key("request_control_key", request_control_key),
            status=status,
            date_from=date_from,
            date_to=date_to,
            page=page,
            page_size=page_size,
        )

    def list_where(self, account_key: Key, **filters: object) -> Call[Page[Detail]]:
        """List those of an account that fit the filters of the wire, where `status` has the kind in front."""
        named = {f"{self.kind}_status" if name == "status" else name: value for name, value in filters.items()}
        path = f"/account/{key_text('account_key', account_key)}/{self.plural}"
        return Call("GET", path, self.read_page, query=query_of(**named))

    def path(self, account_key: Key, key: Key, *last: str) -> str:
        """The path of one transfer or batch, and of what is below it."""
        account = key_text("account_key", account_key)
        return "/".join(("/account", account, self.kind, key_text("key", key), *last))

    def create(self, account_key: Key, control_key: Key | None, correlation_id: str | None, **body: Any) -> Call[Short]:
        """Ask for one, under a new key unless one is given."""
        ids = ids_of(correlation_id, request_control_key=uuid4() if control_key is None else control_key)
        path = f"/account/{key_text('account_key', account_key)}/{self.kind}"
        return Call("POST", path, self.read, json_body(request_control_key=ids.request_control_key, **body), ids=ids)


PIX = TransferCalls.of("pix_transfer", "pix_transfers", Pix, PixDetail)
TED = TransferCalls.of("ted", "teds", Ted, TedDetail)


def create_pix(
    account_key: Key,
    *,
    amount: Amount,
    target: PixTarget,
    approver: Approver,
    message: str | None = None,
    request_control_key: Key | None = None,
    correlation_id: str | None = None,
) -> Call[Pix]:
    """Ask for a Pix; it waits for the approver's token."""
    return PIX.create(
        account_key,
        request_control_key,
        correlation_id,
        tfa_info=approver.wire(),
        **pix_fields(amount, target, message),
    )


def create_ted(
    account_key: Key,
    *,
    amount: Amount,
    target: TargetAccount,
    approver: Approver,
    request_control_key: Key | None = None,
    correlation_id: str | None = None,
) -> Call[Ted]:
    """Ask for a TED; it waits for the approver's token."""
    return TED.create(
        account_key,
        request_control_key,
        correlation_id,
        tfa_info=approver.wire(),
        **ted_fields(amount, target),
    )


def list_pix(
    account_key: Key,
    *,
    request_control_key: Key | None = None,
    end_to_end_id: str | None = None,
    transaction_key: Key | None = None,
    status: str | None = None,
    date_from: date | None = None,
    date_to: date | None = None,
    order_by: Literal["asc", "desc"] | None = None,
    page: int | None = None,
    page_size: int | None = None,
) -> Call[Page[PixDetail]]:
    """List Pix of an account by creation, days as in Brasília, at most 30 a page."""
    return PIX.list_where(
        account_key,
        request_control_key=optional_key("request_control_key", request_control_key),
        end_to_end_id=end_to_end_id,
        transaction_key=optional_key("transaction_key", transaction_key),
        status=status,
        date_from=date_from,
        date_to=date_to,
        order_by=order_by,
        page=page,
        page_size=page_size,
    )


def optional_key(name: str, key: Key | None) -> str | None:
    """A key as it stands in a query, if there is one."""
    return None if key is None else key_text(name, key)
