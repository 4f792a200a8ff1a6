"""Change a campaign, but for its policy."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from msgspec.structs import replace as changed_struct

from aval.domain.campaign import Campaign, CampaignData
from aval.domain.errors import Refusal
from aval.operations.create_campaign import audited, told
from aval.operations.record_act import Author, changed, record_act
from aval.storage.campaigns import StoredCampaign, lock_campaign, update_campaign
from aval.storage.clock import read_clock
from aval.storage.database import Database


async def change_campaign(
    db: Database, *, campaign_id: str, changes: Mapping[str, Any], author: Author
) -> StoredCampaign:
    """Put what is given in place of what is stored; id and mode never change."""
    assert not {"campaign_id", "mode"} & changes.keys()
    async with db.transaction() as connection:
        stored = await lock_campaign(connection, campaign_id)
        if stored is None:
            raise Refusal("rdm.resource_not_found", extra_fields={"resource": "campaign"})
        before = _data_of(stored)
        after = changed_struct(before, **changes)
        now = await read_clock(connection)
        values = told(after)
        oidc = values.pop("oidc")
        stored = replace(stored, campaign=changed_struct(stored.campaign, **values), oidc=oidc, updated_at=now)
        await update_campaign(connection, stored, at=now)
        key = stored.campaign.key
        details = changed(audited(before), audited(after))
        await record_act(connection, author, "campaign.changed", integrator_key=key, key=key, at=now, details=details)
    return stored


def _data_of(stored: StoredCampaign) -> CampaignData:
    campaign: Campaign = stored.campaign
    values = {name: getattr(campaign, name) for name in CampaignData.__struct_fields__ if name != "oidc"}
    return CampaignData(**values, oidc=stored.oidc)
