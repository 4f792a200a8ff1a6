"""Purchases that exist: locked, found, listed, swept."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from aval.domain.challenge import Challenge
from aval.domain.money import Brl
from aval.domain.purchase import Purchase
from aval.domain.transfer import NO_ACCOUNT, NOBODY, Kind, Transfer
from aval.storage.database import Connection, Row
from aval.storage.purchase_rows import NO_PEOPLE, PEOPLE_COLUMNS, PURCHASE_COLUMNS, PURCHASE_PEOPLE, purchase_of
from aval.storage.rows import CHALLENGE_COLUMNS, challenge_of, columns

PurchaseId = tuple[UUID, UUID]  # campaign's tenant key, purchase
MARGIN = timedelta(minutes=1)  # a transaction that authorized a purchase has long committed by then

_OF_KEYS = """
  from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, purchase_id)
  join purchases p on p.integrator_id = r.integrator_id and p.purchase_id = r.purchase_id
"""
_IN_ORDER = " order by p.integrator_id, p.purchase_id"
_MOVED = f"select {PURCHASE_COLUMNS} {NO_PEOPLE} {_OF_KEYS} {_IN_ORDER}"  # noqa: S608 – constants only, as the next
_SHOWN = f"select {PURCHASE_COLUMNS} {PEOPLE_COLUMNS} {_OF_KEYS} {PURCHASE_PEOPLE} {_IN_ORDER}"  # noqa: S608
_LOCK = " for no key update of p"
NOTHING = Brl(0)


async def lock_purchases(
    connection: Connection, keys: Sequence[PurchaseId], *, is_shown: bool = False, may_wait: bool = True
) -> dict[PurchaseId, Purchase]:
    """Lock purchases in key order, after their challenges, and read them; one that does not exist is left out.

    With `is_shown` also whose they are. Without `may_wait` one that is locked elsewhere is left out, too.
    Read the clock afterwards.
    """
    if not keys:
        return {}
    query = _SHOWN if is_shown else _MOVED
    rows = await connection.fetch(query + _LOCK + ("" if may_wait else " skip locked"), *columns(sorted(set(keys))))
    found = {purchase.id: purchase for purchase in map(purchase_of, rows)}
    return found | await _with_present_refunds(connection, found, query)


async def _with_present_refunds(
    connection: Connection, locked: Mapping[PurchaseId, Purchase], query: str
) -> dict[PurchaseId, Purchase]:
    """Whoever waited for a lock sees the row as it is, but what was given back as it was before."""
    given_back = [key for key, purchase in locked.items() if purchase.refunded_points]
    if not given_back:
        return {}
    rows = await connection.fetch(query, *columns(given_back))
    return {purchase.id: purchase for purchase in map(purchase_of, rows)}


# Each challenge before its purchase: whoever else locks the purchase of a challenge has that challenge first, too.
_LOCK_CHALLENGED = f"""
select {PURCHASE_COLUMNS} {PEOPLE_COLUMNS}, {CHALLENGE_COLUMNS}, o.details_digest, o.nonce
  from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, purchase_id)
  join challenges c on c.integrator_id = r.integrator_id and c.operation_id = r.purchase_id
  join operations o on o.integrator_id = r.integrator_id and o.operation_id = r.purchase_id
  join purchases p on p.integrator_id = r.integrator_id and p.purchase_id = r.purchase_id
  {PURCHASE_PEOPLE}
 order by c.integrator_id, c.operation_id
   for no key update of c, p
"""  # noqa: S608 – constants only


async def lock_challenged(
    connection: Connection, keys: Sequence[PurchaseId], *, may_wait: bool
) -> tuple[dict[PurchaseId, tuple[Transfer, Challenge]], dict[PurchaseId, Purchase]]:
    """Lock challenges and their purchases in key order, and read them with whose they are; one without is left out.

    Operations are told without `details`: the purchase has what was asked, and their digest what the token is bound to.
    Without `may_wait` one that is locked elsewhere is left out, too. Read the clock afterwards.
    """
    rows = await connection.fetch(_LOCK_CHALLENGED + ("" if may_wait else " skip locked"), *columns(keys))
    purchases = {purchase.id: purchase for purchase in map(purchase_of, rows)}
    locked = {
        key: (_operation_of(row, purchase), challenge_of(row))
        for row, (key, purchase) in zip(rows, purchases.items(), strict=True)
    }
    return locked, purchases | await _with_present_refunds(connection, purchases, _SHOWN)


def _operation_of(row: Row, purchase: Purchase) -> Transfer:
    return Transfer(
        integrator_key=purchase.tenant_key,
        key=purchase.key,
        kind=Kind.PURCHASE,
        account_key=NO_ACCOUNT,
        approver_key=purchase.participant_key,
        credential_key=purchase.application_key,
        request_control_key=purchase.key,
        request_fingerprint=purchase.request_fingerprint,
        end_to_end_id=None,
        amount=NOTHING,
        fee=NOTHING,
        payee=NOBODY,
        pix_transfer_type=None,
        pix_message=None,
        receiver_conciliation_id=None,
        nonce=row["nonce"],
        correlation_id=purchase.origin_correlation_id,
        created_at=purchase.created_at,
        details_digest=row["details_digest"],
    )


class ReadPurchase(NamedTuple):
    """A purchase as it is read: with its challenge if it ever had one, and what became of the live message."""

    purchase: Purchase
    challenge: Challenge | None
    delivery: str | None
    now: datetime

    @property
    def is_over(self) -> bool:
        """Whether its time is over though nobody has said so yet."""
        is_overdue = self.purchase.is_pending and self.challenge is not None and self.challenge.is_overdue(self.now)
        return is_overdue or self.purchase.is_expired(self.now)


_READ = f"""
select {PURCHASE_COLUMNS} {PEOPLE_COLUMNS}, clock_timestamp() as now, c.operation_id, {CHALLENGE_COLUMNS},
       (select m.state from outbox m
         where m.operation_id = c.operation_id and m.integrator_id = c.integrator_id and m.generation = c.generation
           and m.topic = 'token' and p.status = 'pending_2fa_approval') as delivery
  from purchases p
  {PURCHASE_PEOPLE}
  left join challenges c on c.integrator_id = p.integrator_id and c.operation_id = p.purchase_id
"""


# By key within each campaign: an index for the back office alone would cost every purchase an entry.
_OF_ANY = "where p.integrator_id = any (array(select integrator_id from campaigns)) and p.purchase_id = $1"


async def find_purchase(connection: Connection, purchase_key: UUID, tenant_key: UUID | None) -> ReadPurchase | None:
    """One purchase of a campaign; without a tenant, which only the back office may leave out, of any."""
    if tenant_key is None:
        row = await connection.fetchrow(f"{_READ} {_OF_ANY}", purchase_key)
    else:
        row = await connection.fetchrow(
            f"{_READ} where p.integrator_id = $2 and p.purchase_id = $1", purchase_key, tenant_key
        )
    return None if row is None else _read(row)


def _read(row: Any) -> ReadPurchase:
    challenge = None if row["operation_id"] is None else challenge_of(row)
    return ReadPurchase(purchase_of(row), challenge, row["delivery"], row["now"])


class PurchaseFilter(msgspec.Struct, frozen=True):
    """What a list is narrowed to; None is everything. Times: start included, end not."""

    tenant_key: UUID | None = None
    participant_key: UUID | None = None
    status: str | None = None
    kind: str | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None


_WHERE = """
 where ($1::uuid is null or p.integrator_id = $1) and ($2::uuid is null or p.participant_id = $2)
   and ($3::text is null or p.status = $3) and ($4::text is null or p.kind = $4)
   and ($5::timestamptz is null or p.created_at >= $5) and ($6::timestamptz is null or p.created_at < $6)
"""


async def list_purchases(
    connection: Connection, wanted: PurchaseFilter, *, offset: int, limit: int
) -> tuple[list[ReadPurchase], int]:
    """Purchases, newest first, and how many there are in all."""
    values = msgspec.structs.astuple(wanted)
    page = f"select p.integrator_id, p.purchase_id from purchases p {_WHERE} order by p.purchase_id desc"
    rows = await connection.fetch(
        f"{_READ} where (p.integrator_id, p.purchase_id) in ({page} offset $7 limit $8) order by p.purchase_id desc",
        *values,
        offset,
        limit,
    )
    total: int = await connection.fetchval(f"select count(*) from purchases p {_WHERE}", *values)
    return list(map(_read, rows)), total


async def find_pending(
    connection: Connection, tenant_key: UUID, participant_key: UUID, device_key: UUID | None
) -> list[UUID]:
    """Purchases of a participant that wait for a token, of one device or any; a window is 24 h at most."""
    rows = await connection.fetch(
        "select purchase_id from purchases where participant_id = $2 and integrator_id = $1"
        " and status = 'pending_2fa_approval' and ($3::uuid is null or device_id = $3) order by purchase_id",
        tenant_key,
        participant_key,
        device_key,
    )
    return [row["purchase_id"] for row in rows]


async def find_owners(connection: Connection, keys: Sequence[PurchaseId]) -> Mapping[PurchaseId, UUID]:
    """Whose these purchases are; one that does not exist is left out."""
    rows = await connection.fetch(
        "select p.integrator_id, p.purchase_id, p.participant_id"
        " from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, purchase_id)"
        " join purchases p on p.integrator_id = r.integrator_id and p.purchase_id = r.purchase_id",
        *columns(keys),
    )
    return {(row["integrator_id"], row["purchase_id"]): row["participant_id"] for row in rows}


async def read_authorization_ttls(
    connection: Connection, versions: Collection[tuple[UUID, int]]
) -> dict[tuple[UUID, int], timedelta | None]:
    """How long authorizations last by versions of policies; None is for ever."""
    rows = await connection.fetch(
        "select y.integrator_id, y.version, (y.policy ->> 'authorization_ttl_minutes')::integer as minutes"
        " from unnest($1::uuid[], $2::integer[]) as r (integrator_id, version)"
        " join two_factor_policies y on y.integrator_id = r.integrator_id and y.version = r.version",
        *columns(versions),
    )
    return {
        (row["integrator_id"], row["version"]): None if row["minutes"] is None else timedelta(minutes=row["minutes"])
        for row in rows
    }


async def read_overdue_authorizations(connection: Connection, *, most: int) -> list[PurchaseId]:
    """Purchases whose authorization is over, the longest first, from a watermark on (docs/adr/0011)."""
    rows = await connection.fetch(
        "select p.integrator_id, p.purchase_id from purchases p where p.authorized_until > coalesce("
        "   (select swept_until from sweeps where name = 'authorizations'), '-infinity')"
        " and p.authorized_until <= clock_timestamp() and p.status = 'authorized' order by p.authorized_until limit $1",
        most,
    )
    return [(row["integrator_id"], row["purchase_id"]) for row in rows]


async def move_authorization_watermark(connection: Connection) -> None:
    """Remember that all is swept up to a little before now, or up to the first that is still authorized."""
    await connection.execute(
        "insert into sweeps (name, swept_until)"
        " select 'authorizations', least(clock_timestamp() - $1::interval, ("
        "   select min(p.authorized_until) - interval '1 microsecond' from purchases p"
        "    where p.authorized_until > coalesce("
        "      (select swept_until from sweeps where name = 'authorizations'), '-infinity')"
        "      and p.authorized_until <= clock_timestamp() and p.status = 'authorized'))"
        " on conflict (name) do update set swept_until = greatest(sweeps.swept_until, excluded.swept_until)",
        MARGIN,
    )
