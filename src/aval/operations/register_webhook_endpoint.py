"""Note where an integrator wants to hear of its operations."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.operations.fresh import new_key, new_webhook_secret, sealed
from aval.operations.record_act import Author, record_act
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.integrators import lock_integrator
from aval.storage.webhook_endpoints import WebhookEndpoint, count_endpoints, insert_endpoint

ENDPOINTS_MAX = 5  # spec transfers.md §7.2


async def register_webhook_endpoint(
    db: Database,
    *,
    integrator_key: UUID,
    url: str,
    event_types: Sequence[str],
    headers: Mapping[str, str],
    keyring: Keyring,
    author: Author,
) -> tuple[WebhookEndpoint, str]:
    """Store a target and return its signing secret, which is shown this once; a sixth one is refused."""
    async with db.transaction() as connection:
        await lock_integrator(connection, integrator_key)  # so that two calls cannot both be the fifth
        if await count_endpoints(connection, integrator_key) >= ENDPOINTS_MAX:
            raise Refusal("qit.conflict")
        now = await read_clock(connection)
        key, secret = new_key(now), new_webhook_secret()
        endpoint = WebhookEndpoint(
            key=key,
            url=url,
            event_types=event_types,
            headers_sealed=sealed_headers(keyring, key, headers),
            secret_sealed=sealed(keyring, secret, associated=f"webhook_endpoints/{key}"),
            enabled=True,
            created_at=now,
        )
        await insert_endpoint(connection, integrator_key, endpoint)
        await record_act(
            connection,
            author,
            "webhook_endpoint.created",
            integrator_key=integrator_key,
            key=key,
            at=now,
            details={"after": audited(endpoint)},
        )
    return endpoint, secret


def sealed_headers(keyring: Keyring, endpoint_key: UUID, headers: Mapping[str, str]) -> bytes | None:
    """Seal the endpoint's own headers as a JSON object; none are no bytes at all."""
    if not headers:
        return None
    return sealed(keyring, json.dumps(dict(headers)), associated=f"webhook_endpoints/{endpoint_key}/headers")


def audited(endpoint: WebhookEndpoint) -> dict[str, Any]:
    """Turn a target into what its audit row holds: the query of an address may be a secret."""
    address = endpoint.url.partition("?")[0]
    return {"url": address, "event_types": list(endpoint.event_types), "enabled": endpoint.enabled}
