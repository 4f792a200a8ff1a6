"""Give a campaign a program that may call."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aval.domain.campaign import Campaign
from aval.domain.keyring import Keyring
from aval.domain.redemption_event import EVENT_TYPES
from aval.operations.create_credential import API_KEY_PREFIXES
from aval.operations.fresh import new_api_key, new_key, new_webhook_secret, sealed
from aval.operations.record_act import Author, record_act
from aval.storage.applications import Application, ApplicationKey, insert_application, insert_application_key
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.webhook_endpoints import WebhookEndpoint, insert_endpoint

CLIENT_SECRET_PREFIX = "aval_secret_"  # noqa: S105 – what the secret begins with


@dataclass(frozen=True, slots=True)
class NewApplication:
    """An application and the secrets that are shown this once."""

    application: Application
    key: ApplicationKey
    client_secret: str = field(repr=False)
    api_key: str = field(repr=False)
    subscription_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)


async def create_application(
    db: Database,
    *,
    campaign: Campaign,
    name: str,
    scopes: Sequence[str],
    webhook_url: str | None,
    calls_per_minute: int | None,
    keyring: Keyring,
    author: Author,
) -> NewApplication:
    """Store an application, its first API key, and its webhook endpoint, which is off without an address."""
    client_secret, api_key = new_api_key(CLIENT_SECRET_PREFIX), new_api_key(API_KEY_PREFIXES[campaign.mode])
    subscription_key, webhook_secret = new_api_key(""), new_webhook_secret()
    async with db.transaction() as connection:
        now = await read_clock(connection)
        made = Application(new_key(now), name, sorted(set(scopes)), calls_per_minute, now, None, webhook_url)
        key = ApplicationKey(new_key(now), made.key, now)
        await insert_application(
            connection,
            campaign.key,
            made,
            client_secret_hash=keyring.credential_hashes(client_secret)[0],
            subscription_key_hash=keyring.credential_hashes(subscription_key)[0],
        )
        await insert_application_key(connection, campaign.key, key, api_key_hash=keyring.credential_hashes(api_key)[0])
        await insert_endpoint(connection, campaign.key, _endpoint(made, webhook_secret, keyring))
        await record_act(
            connection,
            author,
            "application.created",
            integrator_key=campaign.key,
            key=made.key,
            at=now,
            details={"after": audited(made)},
        )
    return NewApplication(made, key, client_secret, api_key, subscription_key, webhook_secret)


def audited(application: Application) -> dict[str, object]:
    """Turn an application into what an audit row may hold."""
    return {
        "name": application.name,
        "scopes": list(application.scopes),
        "calls_per_minute": application.calls_per_minute,
        "webhook_url": application.webhook_url,
    }


def _endpoint(application: Application, secret: str, keyring: Keyring) -> WebhookEndpoint:
    return WebhookEndpoint(
        key=application.key,
        url=application.webhook_url or "",
        event_types=EVENT_TYPES,
        headers_sealed=None,
        secret_sealed=sealed(keyring, secret, associated=f"webhook_endpoints/{application.key}"),
        enabled=application.webhook_url is not None,
        created_at=application.created_at,
    )
