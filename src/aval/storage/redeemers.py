"""Who calls on redemptions: the one look-up from what an application or participant sends to who that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from aval.domain.campaign import Campaign, OidcSettings
from aval.storage.campaigns import CAMPAIGN_COLUMNS, campaign_of, oidc_of
from aval.storage.database import Connection, Row

_ONCE = "case when row_number() over (partition by k.integrator_id) = 1 then {0}.{1} end as {1}"
# Of a campaign as often as calls on it come together, its documents are told once.
_CAMPAIGN_ONCE = (
    CAMPAIGN_COLUMNS.replace("k.catalogs", _ONCE.format("k", "catalogs")) + ", " + _ONCE.format("k", "oidc")
)
_CAMPAIGN_ONCE = _CAMPAIGN_ONCE.replace("k.vendors", _ONCE.format("k", "vendors"))
_CAMPAIGN_ONCE = _CAMPAIGN_ONCE.replace("y.policy", _ONCE.format("y", "policy"))

# One row for each subscription key that is good; everything else is asked within the campaign it belongs to.
_IDENTIFY = f"""
    select clock_timestamp() as now, s.call, a.application_id, a.scopes, a.calls_per_minute, {_CAMPAIGN_ONCE},
           exists (select from unnest($3::int[], $4::bytea[]) g(call, hash)
                     join application_keys q on q.api_key_hash = g.hash
                    where g.call = s.call and q.integrator_id = a.integrator_id
                      and q.application_id = a.application_id and q.revoked_at is null) as is_key_good,
           (select jsonb_object_agg(p.participant_id, jsonb_build_array(p.catalog_id, p.username))
              from unnest($5::int[], $6::uuid[]) c(call, key)
             cross join lateral ( -- by the whole key, however young the table is (docs/adr/0017)
                   select r.* from participants r
                    where r.integrator_id = a.integrator_id and r.participant_id = c.key offset 0) p
             where c.call = s.call) as participants
      from unnest($1::int[], $2::bytea[]) s(call, hash)
      join applications a on a.subscription_key_hash = s.hash and a.revoked_at is null
      join campaigns k on k.integrator_id = a.integrator_id
      join integrators i on i.integrator_id = k.integrator_id
      join two_factor_policies y on y.integrator_id = k.integrator_id and y.version = k.policy_version"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Presented:
    """What a call sends to say who it is: hashes under every live key, and participants it may mean."""

    subscription_hashes: Sequence[bytes] = field(repr=False)
    api_key_hashes: Sequence[bytes] = field(default=(), repr=False)
    participants: Sequence[UUID] = ()


@dataclass(frozen=True, slots=True)
class KnownParticipant:
    """What impersonation headers are held against."""

    key: UUID
    catalog_id: str
    username: str


@dataclass(frozen=True, slots=True)
class Identified:
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
    rows = await connection.fetch(
        _IDENTIFY,
        *_numbered([call.subscription_hashes for call in calls]),
        *_numbered([call.api_key_hashes for call in calls]),
        *_numbered([call.participants for call in calls]),
    )
    campaigns = {
        row["tenant_key"]: (campaign_of(row), oidc_of(row["oidc"])) for row in rows if row["policy"] is not None
    }
    found = {row["call"]: _identified(row, *campaigns[row["tenant_key"]]) for row in rows}
    return [found.get(number) for number in range(len(calls))]


async def find_tenant_of(connection: Connection, participant_key: UUID) -> UUID | None:
    """Find the campaign's tenant key of a participant, for the back office, which is bound to none."""
    tenant: UUID | None = await connection.fetchval(
        "select integrator_id from participants where participant_id = $1", participant_key
    )
    return tenant


def _numbered(values: Sequence[Sequence[object]]) -> tuple[list[int], list[object]]:
    """Two columns: the number of the call, and one of its values."""
    pairs = [(number, value) for number, each in enumerate(values) for value in each]
    return [number for number, _ in pairs], [value for _, value in pairs]


def _identified(row: Row, campaign: Campaign, oidc: OidcSettings | None) -> Identified:
    known = {UUID(text): told for text, told in (row["participants"] or {}).items()}
    return Identified(
        application_key=row["application_id"],
        scopes=frozenset(row["scopes"]),
        calls_per_minute=row["calls_per_minute"],
        campaign=campaign,
        oidc=oidc,
        is_key_good=row["is_key_good"],
        now=row["now"],
        participants={key: KnownParticipant(key, *told) for key, told in known.items()},
    )
