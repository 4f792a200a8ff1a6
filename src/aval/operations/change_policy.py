"""Replace a campaign's policy for the second factor."""

import msgspec

from aval.domain.campaign import Campaign, PolicyVersion, TwoFactorPolicy
from aval.domain.errors import Refusal
from aval.operations.create_campaign import name_of
from aval.operations.new_event import new_event
from aval.operations.record_act import Author, record_act
from aval.storage.campaigns import lock_campaign
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.policies import insert_policy
from aval.storage.webhook_events import append_events


async def change_policy(
    db: Database, *, campaign_id: str, expected_version: int, policy: TwoFactorPolicy, author: Author
) -> PolicyVersion:
    """Add the next version; refused if the current one is another than the caller has seen.

    Nothing in flight changes: each purchase and registration keeps the version it was made under.
    """
    async with db.transaction() as connection:
        stored = await lock_campaign(connection, campaign_id)
        if stored is None:
            raise Refusal("rdm.resource_not_found", extra_fields={"resource": "campaign"})
        campaign = stored.campaign
        if campaign.policy_version != expected_version:
            raise Refusal("rdm.policy_version_conflict", extra_fields={"version": campaign.policy_version})
        now = await read_clock(connection)
        version = PolicyVersion(expected_version + 1, policy, name_of(author), now)
        await insert_policy(connection, campaign.key, version)
        await record_act(
            connection,
            author,
            "policy.changed",
            integrator_key=campaign.key,
            key=campaign.key,
            at=now,
            details={
                "version": version.version,
                "before": msgspec.to_builtins(campaign.policy),
                "after": msgspec.to_builtins(policy),
            },
        )
        await _tell(connection, campaign, version, author)
    return version


async def _tell(connection: Connection, campaign: Campaign, version: PolicyVersion, author: Author) -> None:
    event = new_event(
        "two_factor.policy_changed",
        {"campaign_id": campaign.campaign_id, "version": version.version, "enabled": version.policy.enabled},
        integrator_key=campaign.key,
        subject_key=campaign.key,
        kind="campaign",
        sequence=version.version - 1,
        at=version.changed_at,
        correlation_id=author.correlation_id,
    )
    await append_events(connection, [event])
