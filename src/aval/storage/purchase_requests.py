"""Requests for purchases, set-wise: guards, and the facts under them."""

from collections.abc import Collection, Sequence
from uuid import UUID

from aval.domain.onboarding import onboarding_of
from aval.domain.principal import PrincipalStale
from aval.domain.purchase_request import PurchaseFacts, PurchaseRequest
from aval.storage.database import Connection, Row
from aval.storage.onboarding import ONBOARDING_COLUMNS, ONBOARDING_TABLES, onboarding_facts
from aval.storage.redeemers import is_unchanged, recalled_columns
from aval.storage.rows import columns

ParticipantId = tuple[UUID, UUID]  # campaign's tenant key, participant


# The row in `participants` is the guard (docs/adr/0034): what it guards is nobody else's, so that account and approver
# may be locked with it. Who locks several goes in the order of the keys.
_GUARD = """
select q.integrator_id, q.participant_id
  from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, participant_id)
  join participants q on q.integrator_id = r.integrator_id and q.participant_id = r.participant_id
  join approvers v on v.integrator_id = r.integrator_id and v.approver_id = r.participant_id
  join points_accounts w on w.integrator_id = r.integrator_id and w.participant_id = r.participant_id
 order by q.integrator_id, q.participant_id
"""


async def guard_redeemers(
    connection: Connection, participants: Sequence[ParticipantId], *, has_messages: bool, may_wait: bool
) -> set[ParticipantId]:
    """Lock participants and accounts in key order; with `has_messages` also the rows their messages are counted under.

    Without `may_wait` one that is locked elsewhere is left out, like one that does not exist. Raises LockNotWon.
    """
    locks = " for no key update of q, v, w" if has_messages else " for no key update of q, w"
    query = _GUARD + locks + ("" if may_wait else " skip locked")
    rows = await connection.fetch(query, *columns(sorted(set(participants))))
    return {(row["integrator_id"], row["participant_id"]) for row in rows}


_LOCK_NUMBERS = """
select n.integrator_id
  from phone_numbers n
 where (n.integrator_id, n.number_index) in (
       select d.integrator_id, d.number_index
         from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, participant_id)
         join phone_devices d on d.participant_id = r.participant_id and d.integrator_id = r.integrator_id
              and d.status in ('active', 'blocked'))
 order by n.integrator_id, n.number_index
   for no key update of n
"""


async def lock_numbers_in_use(connection: Connection, participants: Collection[ParticipantId]) -> None:
    """Lock the numbers of participants who are guarded; several participants may share one. The call waits."""
    if participants:
        await connection.execute(_LOCK_NUMBERS, *columns(sorted(set(participants))))


# A day has 25 hours at most. What is counted as pending has an open window, swept or not.
_DAY = """
 cross join lateral (
       select count(*) filter (where p.created_at >= d.began) as orders,
              coalesce(sum(p.debited_points) filter (where p.created_at >= d.began), 0)::bigint as points,
              count(*) filter (where p.status = 'pending_2fa_approval' and exists (
                      select from challenges h
                       where h.integrator_id = p.integrator_id and h.operation_id = p.purchase_id
                         and h.approval_deadline > clock_timestamp())) as pending
         from (select date_trunc('day', clock_timestamp() at time zone c.timezone) at time zone c.timezone) d (began)
        cross join purchases p
        where k.is_counted and p.participant_id = k.participant_id and (p.integrator_id = k.integrator_id) is true
          and p.created_at > clock_timestamp() - interval '25 hours'
          and p.status not in ('rejected', 'canceled', 'expired')) day
"""
_NO_DAY = (
    " cross join lateral (select 0 as orders, 0 as points, 0 as pending) day"  # where nothing limits what it holds
)


def _reading(day: str) -> str:
    return f"""
select clock_timestamp() as now, q.status as participant_status, q.catalog_id, v.name, v.document_index,
       q.profile_sealed, q.username, q.revision, w.available, w.entry_count, twin.purchase_id, twin.request_fingerprint,
       day.orders, day.points, day.pending, u.number_index, c.policy_version, c.status as campaign_status,
       {is_unchanged("k.key_no", 7)} as is_unchanged, {ONBOARDING_COLUMNS}
  from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::boolean[], $6::integer[])
       with ordinality as k (integrator_id, participant_id, path, idempotency_key, is_counted, key_no, place)
  join campaigns c on c.integrator_id = k.integrator_id
  left join participants q on q.integrator_id = k.integrator_id and q.participant_id = k.participant_id
  left join approvers v on v.integrator_id = k.integrator_id and v.approver_id = k.participant_id
  left join points_accounts w on w.integrator_id = k.integrator_id and w.participant_id = k.participant_id
  left join purchases twin on twin.idempotency_key = k.idempotency_key and twin.request_path = k.path
       and twin.integrator_id = k.integrator_id
{ONBOARDING_TABLES}
{day}
 order by k.place
"""  # noqa: S608 – constants only


_READ, _READ_WITH_DAY = _reading(_NO_DAY), _reading(_DAY)


async def read_purchase_facts(
    connection: Connection, requests: Sequence[PurchaseRequest]
) -> list[PurchaseFacts | PrincipalStale | None]:
    """What is known about each request, in their order; None for a participant the campaign does not have.

    Read under the guard, what is answered stays; without it, it is held against revisions when it is written.
    PrincipalStale for a caller who is not what they were recalled as.
    """
    numbers, keys = recalled_columns([request.caller for request in requests])
    asked = [
        (*request.participant, request.path, request.idempotency_key, request.caller.tenant.policy.risk.has_counts)
        for request in requests
    ]
    query = _READ_WITH_DAY if any(is_counted for *_, is_counted in asked) else _READ
    rows = await connection.fetch(query, *columns(asked), numbers, *keys)
    return [_facts(row, request) for row, request in zip(rows, requests, strict=True)]


def _facts(row: Row, request: PurchaseRequest) -> PurchaseFacts | PrincipalStale | None:
    recalled, status = request.caller.recalled, row["participant_status"]
    if not row["is_unchanged"]:
        return PrincipalStale()
    if recalled is not None and (row["username"], row["catalog_id"]) != (recalled.username, recalled.catalog_id):
        return PrincipalStale()
    if status is None:
        return None
    onboarding = onboarding_facts(row, status)
    return PurchaseFacts(
        now=row["now"],
        policy_version=row["policy_version"],
        campaign_status=row["campaign_status"],
        participant_status=status,
        participant_name=row["name"],
        profile_sealed=row["profile_sealed"],
        catalog_id=row["catalog_id"],
        available=row["available"],
        twin_key=row["purchase_id"],
        twin_fingerprint=row["request_fingerprint"],
        orders_today=row["orders"],
        points_today=row["points"],
        pending=row["pending"],
        revision=row["revision"],
        entry_count=row["entry_count"],
        document_index=row["document_index"],
        number_index=row["number_index"],
        onboarding=onboarding_of(request.caller.tenant.policy, onboarding) if request.is_two_factor else None,
        device=onboarding.device,
    )


async def is_key_used(connection: Connection, request: PurchaseRequest) -> bool:
    """Whether the key of a request was used before, so that nobody outside needs to be asked again."""
    found: bool = await connection.fetchval(
        "select exists (select from purchases where idempotency_key = $3 and request_path = $2 and integrator_id = $1)",
        request.caller.tenant.key,
        request.path,
        request.idempotency_key,
    )
    return found
