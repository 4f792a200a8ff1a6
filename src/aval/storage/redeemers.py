"""Who calls on redemptions: the one look-up from what an application or participant sends to who that is.

Calls that come together mostly send the same few credentials and differ in the participant. So each distinct set of
credentials is sent and joined once, with slices of the hashes of API keys and of the participants beside it, and one
row tells what was found of it: its participants as arrays. A call is told only of the participants it means itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from msgspec.structs import astuple, replace

from aval.domain.caller import Caller, KeyState
from aval.domain.campaign import Campaign, OidcSettings
from aval.storage.campaigns import CAMPAIGN_COLUMNS, campaign_of, oidc_of
from aval.storage.database import Connection, Row
from aval.storage.rows import columns

_ONCE = "case when s.is_first then {0}.{1} end as {1}"
# A campaign may have long documents: they are told once for each subscription key, whatever comes with it.
_CAMPAIGN_ONCE = (
    CAMPAIGN_COLUMNS.replace("k.catalogs", _ONCE.format("k", "catalogs"))
    .replace("k.vendors", _ONCE.format("k", "vendors"))
    .replace("y.policy", _ONCE.format("y", "policy"))
    + f", {_ONCE.format('k', 'oidc')}"
)

# Everything is asked within the campaign of a subscription key that is good. Each `offset 0` keeps a look-up behind
# what it is looked up by, however young the tables are (docs/adr/0017): while campaigns are few, PostgreSQL would begin
# with all of them. The limit cuts nothing: with it the plan for any number of callers seems as cheap as one for a
# single caller, so that PostgreSQL keeps it; it would plan each batch anew.
_IDENTIFY = f"""
    select clock_timestamp() as now, s.row_no, a.application_id, a.scopes, a.calls_per_minute, {_CAMPAIGN_ONCE},
           q.api_key_hash, a.updated_at as application_at, k.updated_at as campaign_at, p.participant_keys,
           p.catalog_ids, p.usernames
      from (select u.row_no, u.hash, array_position($1, u.hash) = u.row_no as is_first,
                   ($6::bytea[])[($2::int[])[u.row_no]:($3::int[])[u.row_no]] as api_key_hashes,
                   ($7::uuid[])[($4::int[])[u.row_no]:($5::int[])[u.row_no]] as participants
              from unnest($1::bytea[]) with ordinality u(hash, row_no) limit cardinality($1)) s
     cross join lateral (
           select e.* from applications e
            where e.subscription_key_hash = s.hash and e.revoked_at is null offset 0) a
     cross join lateral (select e.* from campaigns e where e.integrator_id = a.integrator_id offset 0) k
     cross join lateral (select e.* from integrators e where e.integrator_id = k.integrator_id offset 0) i
     cross join lateral (
           select e.* from two_factor_policies e
            where e.integrator_id = k.integrator_id and e.version = k.policy_version offset 0) y
      left join lateral (select e.* from application_keys e where e.api_key_hash = any (s.api_key_hashes) offset 0) q
        on q.integrator_id = a.integrator_id and q.application_id = a.application_id and q.revoked_at is null
     cross join lateral (
           select array_agg(e.participant_id) as participant_keys, array_agg(e.catalog_id) as catalog_ids,
                  array_agg(e.username) as usernames
             from unnest(s.participants) m(participant_id)
            cross join lateral (
                  select e.* from participants e
                   where e.integrator_id = a.integrator_id and e.participant_id = m.participant_id offset 0) e) p
"""  # noqa: S608


_Credentials = tuple[tuple[bytes, ...], tuple[bytes, ...]]  # hashes of a subscription key, and of an API key


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
    key: KeyState | None  # None if the API key is none of this application, or revoked
    participants: Mapping[UUID, KnownParticipant]
    now: datetime  # by which tokens are judged


async def identify(connection: Connection, calls: Sequence[Presented]) -> list[Identified | None]:
    """Look up the callers of many calls in one statement; None for a subscription key that is none."""
    presented = [(tuple(call.subscription_hashes), tuple(call.api_key_hashes)) for call in calls]
    meant: dict[_Credentials, dict[UUID, None]] = {}
    for credentials, call in zip(presented, calls, strict=True):
        meant.setdefault(credentials, {}).update(dict.fromkeys(call.participants))
    asked = [credentials for credentials in meant for _ in credentials[0]]  # a row for each hash of a subscription key
    rows = await connection.fetch(_IDENTIFY, *_parameters(meant)) if asked else []
    campaigns = {
        row["tenant_key"]: (campaign_of(row), oidc_of(row["oidc"])) for row in rows if row["policy"] is not None
    }
    found = {asked[row["row_no"] - 1]: _identified(row, *campaigns[row["tenant_key"]]) for row in rows}
    return [_told(found.get(credentials), call) for credentials, call in zip(presented, calls, strict=True)]


_UNCHANGED = """array(
       select exists (
              select from applications a
                join application_keys y on y.api_key_hash = s.api_key_hash and y.integrator_id = a.integrator_id
                     and y.application_id = a.application_id and y.revoked_at is null
                join campaigns c on c.integrator_id = a.integrator_id and c.updated_at = s.campaign_at
               where a.integrator_id = s.integrator_id and a.application_id = s.application_id
                 and a.revoked_at is null and a.updated_at = s.application_at)
         from unnest(${0}::uuid[], ${1}::uuid[], ${2}::bytea[], ${3}::timestamptz[], ${4}::timestamptz[])
              with ordinality as s (integrator_id, application_id, api_key_hash, application_at, campaign_at, place)
        order by s.place)"""


def is_unchanged(number: str, first: int) -> str:
    """SQL: whether the key that a caller was recalled by is as it was; the columns are parameters from `first` on.

    A key is asked for once, however many calls bring it. A caller who was looked up just now has no number.
    """
    return f"coalesce(({_UNCHANGED.format(*range(first, first + 5))})[{number}], true)"


def recalled_columns(callers: Sequence[Caller]) -> tuple[list[int | None], list[list[object]]]:
    """For each caller the number of what it is recalled by, from 1; and those, as columns."""
    numbers: dict[KeyState, int] = {}
    told = [
        None if (known := caller.recalled) is None else numbers.setdefault(known.key, len(numbers) + 1)
        for caller in callers
    ]
    return told, columns(map(astuple, numbers)) or [[], [], [], [], []]


async def find_tenant_of(connection: Connection, participant_key: UUID) -> UUID | None:
    """Find the campaign's tenant key of a participant, for the back office, which is bound to none."""
    tenant: UUID | None = await connection.fetchval(
        "select integrator_id from participants where participant_id = $1", participant_key
    )
    return tenant


def _parameters(meant: Mapping[_Credentials, Iterable[UUID]]) -> Sequence[Sequence[object]]:
    rows: list[Sequence[object]] = []
    keys: list[bytes] = []
    participants: list[UUID] = []
    for (subscription_hashes, api_key_hashes), own in meant.items():
        keys_from, participants_from = len(keys) + 1, len(participants) + 1
        keys += api_key_hashes
        participants += own
        slices = (keys_from, len(keys), participants_from, len(participants))
        rows += [(hashed, *slices) for hashed in subscription_hashes]
    return [*columns(rows), keys, participants]


def _identified(row: Row, campaign: Campaign, oidc: OidcSettings | None) -> Identified:
    """What was found of a set of credentials, with the participants of every call that presents it."""
    known = zip(row["participant_keys"] or (), row["catalog_ids"] or (), row["usernames"] or (), strict=True)
    return Identified(
        application_key=row["application_id"],
        scopes=frozenset(row["scopes"]),
        calls_per_minute=row["calls_per_minute"],
        campaign=campaign,
        oidc=oidc,
        key=_key_state(row),
        participants={each[0]: KnownParticipant(*each) for each in known},
        now=row["now"],
    )


def _key_state(row: Row) -> KeyState | None:
    if row["api_key_hash"] is None:
        return None
    return KeyState(
        row["tenant_key"], row["application_id"], row["api_key_hash"], row["application_at"], row["campaign_at"]
    )


def _told(found: Identified | None, call: Presented) -> Identified | None:
    """What a call is told: of the participants, those that it means itself."""
    if found is None:
        return None
    known = found.participants
    return replace(found, participants={key: known[key] for key in call.participants if key in known})
