"""Bring a promised webhook to its endpoint: sign, post, remember how it went (transfers.md §7.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from aval.domain.keyring import KeyMissing, Keyring
from aval.domain.signature import signed_headers
from aval.operations.coalesce import Postponed
from aval.ports import Outbound, OutboundAnswer, OutboundCall
from aval.storage.callbacks import CallbackResult, PromisedCallback, disable_endpoint, finish_callbacks
from aval.storage.database import Database

RETRY_AFTER_MAX = timedelta(hours=24)  # spec promises.md §4.8
GONE = 410
SLOWED = frozenset({429, 502, 504})  # spec promises.md §4.8


@dataclass(frozen=True, slots=True)
class WebhookPolicy:
    """Gaps between tries, and how long a receiver may take."""

    gaps: tuple[timedelta, ...]
    timeout: timedelta


@dataclass(frozen=True, slots=True)
class Posted:
    """How one try at a webhook ended."""

    result: CallbackResult
    endpoint_key: UUID
    is_gone: bool = False


async def deliver_webhook(
    *, callback: PromisedCallback, keyring: Keyring, outbound: Outbound, policy: WebhookPolicy
) -> Posted:
    """One try at a leased webhook: the same body every time, signed anew. One nobody wants any more is not sent."""
    if not callback.is_wanted:
        return _posted(callback, OutboundAnswer(None, error="endpoint_disabled"), "failed", callback.now)
    try:
        headers = _headers(callback, keyring)
    except KeyMissing:
        return failed_post(callback, policy, "key_missing")
    call = OutboundCall("POST", callback.url, headers, callback.body.encode(), policy.timeout)
    return _judged(callback, await outbound.call(call), policy)


def _headers(callback: PromisedCallback, keyring: Keyring) -> dict[str, str]:
    place = f"webhook_endpoints/{callback.endpoint_key}"
    secrets = [keyring.opened(callback.secret_sealed, associated=place)]
    if callback.former_secret_sealed is not None:
        secrets.append(keyring.opened(callback.former_secret_sealed, associated=place))
    own: dict[str, str] = {}
    if callback.headers_sealed is not None:
        own = msgspec.json.decode(
            keyring.opened(callback.headers_sealed, associated=f"{place}/headers"), type=dict[str, str]
        )
    signed = signed_headers(secrets, str(callback.event_id), callback.now, callback.body.encode())
    return own | signed | {"Content-Type": "application/json", "X-Correlation-Id": callback.correlation_id}


def failed_post(callback: PromisedCallback, policy: WebhookPolicy, error: str) -> Posted:
    """A try that came to nothing on our side."""
    return _judged(callback, OutboundAnswer(None, error=error), policy)


def _judged(callback: PromisedCallback, answer: OutboundAnswer, policy: WebhookPolicy) -> Posted:
    is_sent = answer.status is not None and 200 <= answer.status < 300
    is_last = callback.claim_count > len(policy.gaps)
    status = "sent" if is_sent else "failed" if is_last or answer.status == GONE else "pending"
    gap = policy.gaps[min(callback.claim_count, len(policy.gaps)) - 1]
    if answer.status in SLOWED and answer.retry_after is not None:
        gap = max(gap, min(answer.retry_after, RETRY_AFTER_MAX))
    return _posted(callback, answer, status, callback.now + gap)


def _posted(callback: PromisedCallback, answer: OutboundAnswer, status: str, due_at: datetime) -> Posted:
    result = CallbackResult(
        integrator_key=callback.integrator_key,
        callback_key=callback.callback_key,
        fence=callback.fence,
        status=status,
        due_at=due_at,
        last_status=answer.status,
        last_error=answer.error or None,
    )
    return Posted(result, callback.endpoint_key, is_gone=answer.status == GONE)


async def record_callbacks(db: Database, *, posted: Sequence[Posted]) -> list[bool | Exception | Postponed]:
    """Write how tries ended, set-wise; a receiver that is gone for good is switched off."""
    async with db.transaction() as connection:
        ours = await finish_callbacks(connection, [post.result for post in posted])
        for post in posted:
            if post.is_gone and post.result.callback_key in ours:
                await disable_endpoint(connection, post.result.integrator_key, post.endpoint_key)
    return [post.result.callback_key in ours for post in posted]
