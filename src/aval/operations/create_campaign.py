"""Make a campaign."""

from typing import Any

import msgspec

from aval.domain.campaign import Campaign, CampaignData, TwoFactorPolicy
from aval.domain.errors import Refusal
from aval.operations.fresh import new_key
from aval.operations.record_act import Author, record_act
from aval.storage.campaigns import StoredCampaign, find_campaign, insert_campaign
from aval.storage.clock import read_clock
from aval.storage.database import Database, UniqueViolation


async def create_campaign(db: Database, *, data: CampaignData, author: Author) -> StoredCampaign:
    """Store a campaign with version 1 of its policy, the defaults; an id in use is refused with its status."""
    try:
        async with db.transaction() as connection:
            now = await read_clock(connection)
            key = new_key(now)
            values = told(data)
            del values["oidc"]
            campaign = Campaign(key=key, policy_version=1, policy=TwoFactorPolicy(), **values)
            stored = StoredCampaign(campaign, data.oidc, now, now)
            await insert_campaign(connection, stored, changed_by=name_of(author))
            details = {"after": audited(data)}
            await record_act(
                connection, author, "campaign.created", integrator_key=key, key=key, at=now, details=details
            )
    except UniqueViolation:
        async with db.reading() as connection:
            former = await find_campaign(connection, data.campaign_id)
        assert former is not None  # campaigns are never deleted
        raise Refusal("rdm.wrong_status", extra_fields={"status": former.campaign.status}) from None
    return stored


def name_of(author: Author) -> str:
    """Name who acts as the wire does: an administrator without the kind of credential."""
    return author.name.removeprefix("admin:")


def told(data: CampaignData) -> dict[str, Any]:
    """What the operator says, by name."""
    return msgspec.structs.asdict(data)


def audited(data: CampaignData) -> dict[str, Any]:
    """Turn what the operator says into what an audit row may hold: all of it."""
    return dict(msgspec.to_builtins(data))
