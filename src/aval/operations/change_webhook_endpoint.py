"""Change a webhook target, or switch it off and on."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.operations.record_act import Author, changed, record_act
from aval.operations.register_webhook_endpoint import audited, sealed_headers
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.webhook_endpoints import WebhookEndpoint, lock_endpoint, update_endpoint


async def change_webhook_endpoint(
    db: Database,
    *,
    integrator_key: UUID,
    endpoint_key: UUID,
    changes: Mapping[str, Any],
    headers: Mapping[str, str] | None,
    keyring: Keyring,
    author: Author,
) -> WebhookEndpoint:
    """Put the given fields in place of the stored ones; the secret stays."""
    async with db.transaction() as connection:
        stored = await lock_endpoint(connection, integrator_key, endpoint_key)
        if stored is None:
            raise Refusal("qit.not_found")
        endpoint = replace(stored, **changes)
        if headers is not None:
            endpoint = replace(endpoint, headers_sealed=sealed_headers(keyring, endpoint_key, headers))
        now = await read_clock(connection)
        await update_endpoint(connection, integrator_key, endpoint, now)
        await record_act(
            connection,
            author,
            "webhook_endpoint.changed",
            integrator_key=integrator_key,
            key=endpoint_key,
            at=now,
            details={**changed(audited(stored), audited(endpoint)), "has_new_headers": headers is not None},
        )
    return endpoint
