"""The calls around transfers: the account, webhooks and events (transfers.md §7.2, §8), the sandbox (§10)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from aval.client.answers import (
    Account,
    Approval,
    Callback,
    Event,
    InboxMessage,
    NewWebhookEndpoint,
    Page,
    WebhookEndpoint,
    WebhookSecret,
)
from aval.client.call import Call, Key, json_body, key_text, read_nothing
from aval.client.errors import ArgumentNotValid
from aval.client.paging import page_reader, query_of

ENDPOINTS = "/webhook_endpoints"


class _Advanced(msgspec.Struct):
    approval: Approval | None = None


_read_account = msgspec.json.Decoder(Account).decode
_read_new_endpoint = msgspec.json.Decoder(NewWebhookEndpoint).decode
_read_endpoint = msgspec.json.Decoder(WebhookEndpoint).decode
_read_endpoints = page_reader(WebhookEndpoint)
_read_secret = msgspec.json.Decoder(WebhookSecret).decode
_read_events = page_reader(Event)
_read_callback = msgspec.json.Decoder(Callback).decode
_read_inbox = page_reader(InboxMessage)
_decode_advanced = msgspec.json.Decoder(_Advanced).decode


def get_account(account_key: Key) -> Call[Account]:
    """Read an account and its balance."""
    return Call("GET", f"/account/{key_text('account_key', account_key)}", _read_account)


def create_webhook_endpoint(
    url: str, *, event_types: Sequence[str] | None = None, headers: Mapping[str, str] | None = None
) -> Call[NewWebhookEndpoint]:
    """Register a target of webhooks, for all event types unless some are named.

    Not repeated once it may have arrived, for it could be made twice: after NoAnswer, look at the list.
    """
    body = json_body(url=url, event_types=event_types, headers=headers)
    return Call("POST", ENDPOINTS, _read_new_endpoint, body, is_repeatable=False)


def list_webhook_endpoints(*, page: int | None = None, page_size: int | None = None) -> Call[Page[WebhookEndpoint]]:
    """List the targets of webhooks."""
    return Call("GET", ENDPOINTS, _read_endpoints, query=query_of(page=page, page_size=page_size))


def change_webhook_endpoint(
    webhook_endpoint_key: Key,
    *,
    url: str | None = None,
    event_types: Sequence[str] | None = None,
    headers: Mapping[str, str] | None = None,
    enabled: bool | None = None,
) -> Call[WebhookEndpoint]:
    """Change what is given; given headers take the place of all stored ones."""
    body = json_body(url=url, event_types=event_types, headers=headers, enabled=enabled)
    return Call("PATCH", _endpoint(webhook_endpoint_key), _read_endpoint, body)


def delete_webhook_endpoint(webhook_endpoint_key: Key) -> Call[None]:
    """Remove a target of webhooks."""
    return Call("DELETE", _endpoint(webhook_endpoint_key), read_nothing)


def rotate_webhook_secret(webhook_endpoint_key: Key) -> Call[WebhookSecret]:
    """Give a target a new secret; the old one signs for 24 hours more.

    Not repeated once it may have arrived, for a second rotation would end the secret that is in use.
    """
    path = f"{_endpoint(webhook_endpoint_key)}/rotate_secret"
    return Call("POST", path, _read_secret, is_repeatable=False)


def list_events(
    *,
    event_type: str | None = None,
    callback_status: str | None = None,
    origin_key: Key | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    page: int | None = None,
) -> Call[Page[Event]]:
    """List events, oldest first, of at most 14 days, 25 a page; times are aware."""
    query = query_of(
        event_type=event_type,
        callback_status=callback_status,
        origin_key=None if origin_key is None else key_text("origin_key", origin_key),
        start_datetime=_second("start", start),
        end_datetime=_second("end", end),
        page=page,
    )
    return Call("GET", "/notification/events", _read_events, query=query)


def resend_callback(callback_key: Key) -> Call[Callback]:
    """Have a webhook delivered again, under its old event_id."""
    path = f"/notification/callback/{key_text('callback_key', callback_key)}/resend"
    return Call("POST", path, _read_callback)


def read_inbox(
    *, operation_key: Key | None = None, destination: str | None = None, page: int | None = None
) -> Call[Page[InboxMessage]]:
    """Read the messages of the sandbox, newest first."""
    key = None if operation_key is None else key_text("operation_key", operation_key)
    query = query_of(operation_key=key, destination=destination, page=page)
    return Call("GET", "/sandbox/inbox", _read_inbox, query=query)


def advance(operation_key: Key, seconds: int) -> Call[Approval | None]:
    """Let time pass for an operation of the sandbox; None once it is final.

    Not repeated once it may have arrived, for time would pass twice.
    """
    path = f"/sandbox/operations/{key_text('operation_key', operation_key)}/advance"
    return Call("POST", path, _read_advanced, json_body(seconds=seconds), is_repeatable=False)


def _read_advanced(body: bytes) -> Approval | None:
    return _decode_advanced(body).approval


def _endpoint(key: Key) -> str:
    return f"{ENDPOINTS}/{key_text('webhook_endpoint_key', key)}"


def _second(name: str, moment: datetime | None) -> str | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ArgumentNotValid(name, "naive_time")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
