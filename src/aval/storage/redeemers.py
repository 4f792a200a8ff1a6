"""Who calls on redemptions: the one look-up from what an application or participant sends to who that is."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby, product
from operator import itemgetter
from uuid import UUID

import msgspec

from aval.domain.campaign import Campaign, OidcSettings
from aval.storage.campaigns import CAMPAIGN_COLUMNS, campaign_of, oidc_of
from aval.storage.database import Connection, Row
from aval.storage.rows import columns

_ONCE = "case when row_number() over (partition by k.integrator_id) = 1 then {0}.{1} end as {1}"
# Of a campaign as often as calls on it come together, its documents are told once.
_CAMPAIGN_ONCE = (
    CAMPAIGN_COLUMNS.replace("k.catalogs", _ONCE.format("k", "catalogs")) + ", " + _ONCE.format("k", "oidc")
)
_CAMPAIGN_ONCE = _CAMPAIGN_ONCE.replace("k.vendors", _ONCE.format("k", "vendors"))
_CAMPAIGN_ONCE = _CAMPAIGN_ONCE.replace("y.policy", _ONCE.format("y", "policy"))

# Everything is asked within the campaign of a subscription key that is good.
_IDENTIFY = f"""
    select clock_timestamp() as now, s.call, a.application_id, a.scopes, a.calls_per_minute, {_CAMPAIGN_ONCE},
           q.application_id is not null as is_key_good, p.participant_id, p.catalog_id, p.username
      from unnest($1::int[], $2::bytea[], $3::bytea[], $4::uuid[]) s(call, hash, api_key_hash, participant_id)
      join applications a on a.subscription_key_hash = s.hash and a.revoked_at is null
      join campaigns k on k.integrator_id = a.integrator_id
      join integrators i on i.integrator_id = k.integrator_id
      join two_factor_policies y on y.integrator_id = k.integrator_id and y.version = k.policy_version
      left join application_keys q on q.api_key_hash = s.api_key_hash and q.integrator_id = a.integrator_id
           and q.application_id = a.application_id and q.revoked_at is null
      left join lateral ( -- by the whole key, however young the table is (docs/adr/0017)
           select r.* from participants r
            where r.integrator_id = a.integrator_id and r.participant_id = s.participant_id offset 0) p on true
     order by s.call"""  # noqa: S608


class Presented(msgspec.Struct, frozen=True):
    """What a call sends to say who it is: hashes under every live key, and participants it may mean."""

    subscription_hashes: Sequence[bytes]
    api_key_hashes: Sequence[bytes] = ()
    participants: Sequence[UUID] = ()

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints


class KnownParticipant(msgspec.Struct, frozen=True):
    """What impersonation headers are held against."""

    key: UUID
    catalog_id: str
    username: str


class Identified(msgspec.Struct, frozen=True):
    """The application of a subscription key that is good, its campaign, and those of the participants that exist."""

    application_key: UUID
    scopes: frozenset[str]
    calls_per_minute: int | None
    campaign: Campaign
    oidc: OidcSettings | None
    is_key_good: bool  # the API key is one of this application, and not revoked
    participants: Mapping[UUID, KnownParticipant]
    now: datetime  # by which tokens are judged


async def identify(connection: Connection, calls: Sequence[Presented]) -> list[Identified | None]:
    """Look up the callers of many calls in one statement; None for a subscription key that is none."""
    asked = [(number, *pairing) for number, call in enumerate(calls) for pairing in _pairings(call)]
    rows = await connection.fetch(_IDENTIFY, *columns(asked)) if asked else []
    campaigns = {
        row["tenant_key"]: (campaign_of(row), oidc_of(row["oidc"])) for row in rows if row["policy"] is not None
    }
    found: list[Identified | None] = [None] * len(calls)
    for number, own in groupby(rows, itemgetter("call")):
        found[number] = _identified(list(own), campaigns)
    return found


async def find_tenant_of(connection: Connection, participant_key: UUID) -> UUID | None:
    """Find the campaign's tenant key of a participant, for the back office, which is bound to none."""
    tenant: UUID | None = await connection.fetchval(
        "select integrator_id from participants where participant_id = $1", participant_key
    )
    return tenant


def _pairings(call: Presented) -> Iterable[tuple[bytes, bytes | None, UUID | None]]:
    """Each hash of the subscription key with each of the API key and each participant, or nothing in their place."""
    return product(call.subscription_hashes, call.api_key_hashes or (None,), call.participants or (None,))


def _identified(rows: Sequence[Row], campaigns: Mapping[UUID, tuple[Campaign, OidcSettings | None]]) -> Identified:
    row = rows[0]
    campaign, oidc = campaigns[row["tenant_key"]]
    return Identified(
        application_key=row["application_id"],
        scopes=frozenset(row["scopes"]),
        calls_per_minute=row["calls_per_minute"],
        campaign=campaign,
        oidc=oidc,
        is_key_good=any(each["is_key_good"] for each in rows),
        now=row["now"],
        participants={
            key: KnownParticipant(key, each["catalog_id"], each["username"])
            for each in rows
            if (key := each["participant_id"]) is not None
        },
    )
