"""The chain over the audit: taking rows that no transaction can join any more, keeping and reading links."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from aval.domain.audit_chain import KEYED_MARK_BYTES, LINK_ROWS_MAX, NO_HEAD, ChainedRow, Head, Link, Place
from aval.storage.database import Connection, Database, Row

LOCK_KEY = 0x6176616C_63686E  # "avalchn": one sealer at a time in a database
STEP_LINKS_MAX = 100
STEP_ROWS_MAX = 2 * LINK_ROWS_MAX
TAIL_ROWS_MAX = 10_000

_COLUMNS = (
    "a.xact, a.integrator_id::text as integrator_id, a.audit_id::text as audit_id,"
    " extract(epoch from a.at)::text as at, a.actor, a.action, a.operation_id::text as operation_id,"
    " a.details::text as details, a.correlation_id"
)
_AFTER = "a.xact >= $1 and (a.xact, a.integrator_id, a.audit_id) > ($1, $2::text::uuid, $3::text::uuid)"
_IN_ORDER = "order by a.xact, a.integrator_id, a.audit_id limit"
_LINK = (
    "link_no, rows_before, row_count, last_xact, last_integrator_id::text as last_integrator_id,"
    " last_audit_id::text as last_audit_id, marks, former, kid,"
    " extract(epoch from sealed_at)::text as sealed_at, seal"
)

# In the order of transactions, and only below the oldest one that still runs: above it, one may commit later and lie
# before a row that is sealed.
_UNSEALED = f"""
select {_COLUMNS} from audit a
 where {_AFTER} and a.xact < audit_horizon() {_IN_ORDER} $4
"""
_ROWS = f"""
select {_COLUMNS} from audit a
 where {_AFTER} and (a.xact, a.integrator_id, a.audit_id) <= ($4, $5::text::uuid, $6::text::uuid) {_IN_ORDER} $7
"""
_TAIL = f"""
select count(*) as rows, coalesce(extract(epoch from clock_timestamp() - min(at)), 0)::float8 as age_s
  from (select a.at from audit a where {_AFTER} order by a.xact limit {TAIL_ROWS_MAX}) tail
"""
_LAG = """
select coalesce(extract(epoch from clock_timestamp() - min(tail.at)), 0)::float8 as seal_lag_s
  from (select) here
  left join (select last_xact, last_integrator_id, last_audit_id from audit_links order by link_no desc limit 1) l
    on true
 cross join lateral (
    select a.at from audit a
     where a.xact >= coalesce(l.last_xact, '0')
       and (l.last_xact is null
            or (a.xact, a.integrator_id, a.audit_id) > (l.last_xact, l.last_integrator_id, l.last_audit_id))
     order by a.xact limit 100) tail
"""


_BY_INDEX = """
select set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
       set_config('enable_sort', 'off', true)
"""


async def read_by_index(connection: Connection) -> None:
    """Until the end of the transaction: sorting all that is left for each link would never end after an outage."""
    await connection.execute(_BY_INDEX)


async def try_lock_chain(connection: Connection) -> bool:
    """Be the only sealer until the end of the transaction; False when another is."""
    return bool(await connection.fetchval("select pg_try_advisory_xact_lock($1)", LOCK_KEY))


async def read_head(connection: Connection) -> Head:
    """Where the chain ends."""
    row = await connection.fetchrow(f"select {_LINK} from audit_links order by link_no desc limit 1")
    return NO_HEAD if row is None else Head.of(_link_of(row))


async def is_behind(connection: Connection, place: Place) -> bool:
    """Whether transactions count from lower than what is sealed: the database was restored into another cluster."""
    return bool(await connection.fetchval("select audit_horizon() <= $1", place.xact))


async def read_unsealed(connection: Connection, after: Place, *, most: int) -> list[ChainedRow]:
    """The rows that follow a place, as far as no row can come to lie among them any more."""
    return [ChainedRow(*row) for row in await connection.fetch(_UNSEALED, *after, most)]


async def read_clock_text(connection: Connection) -> str:
    """The database's clock now, as the chain writes times."""
    return str(await connection.fetchval("select extract(epoch from clock_timestamp())::text"))


async def keep_link(connection: Connection, link: Link) -> None:
    """Store a link."""
    await connection.execute(
        "insert into audit_links (link_no, rows_before, row_count, last_xact, last_integrator_id, last_audit_id,"
        " marks, former, kid, sealed_at, seal) values ($1, $2, $3, $4, $5::text::uuid, $6::text::uuid, $7, $8, $9,"
        " timestamptz 'epoch' + ($10::text || ' s')::interval, $11)",
        *(link.number, link.rows_before, link.row_count, *link.last),
        *(link.marks, link.former, link.kid, link.sealed_at, link.seal),
    )


class LinkedRows(NamedTuple):
    """A link, and the rows that lie between the end of the one before and its own."""

    link: Link
    rows: Sequence[ChainedRow]


async def read_chain(db: Database) -> AsyncIterator[LinkedRows]:
    """Every link in order with its rows, a few at a time; it ends at the first that cannot be followed by another."""
    number, last = 0, NO_HEAD.last
    while True:
        async with db.transaction() as connection:
            await read_by_index(connection)
            links = await _read_links(connection, after=number)
            if not links:
                return
            most = sum(len(link.marks) // KEYED_MARK_BYTES for link in links) + 1
            rows = await _read_rows(connection, last, links[-1].last, most=most)
        begin = 0
        for link in links:
            end = next((n for n in range(begin, len(rows)) if rows[n].place > link.last), len(rows))
            yield LinkedRows(link, rows[begin:end])
            begin = end
        number, last = links[-1].number, links[-1].last


async def _read_links(connection: Connection, *, after: int) -> list[Link]:
    """The next links, as many as have STEP_ROWS_MAX rows together, but one at least."""
    query = f"select {_LINK} from audit_links where link_no > $1 order by link_no limit {STEP_LINKS_MAX}"
    links = [_link_of(row) for row in await connection.fetch(query, after)]
    chosen, rows = 0, 0
    for link in links:
        rows += len(link.marks) // KEYED_MARK_BYTES
        if chosen and rows > STEP_ROWS_MAX:
            break
        chosen += 1
    return links[:chosen]


async def _read_rows(connection: Connection, after: Place, until: Place, *, most: int) -> list[ChainedRow]:
    return [ChainedRow(*row) for row in await connection.fetch(_ROWS, *after, *until, most)]


class Tail(NamedTuple):
    """What is not sealed yet: how many rows, counted up to TAIL_ROWS_MAX, and the age of the oldest in seconds."""

    rows: int
    age_s: float


async def read_tail(connection: Connection, after: Place) -> Tail:
    """Look at what follows the end of the chain."""
    row: Any = await connection.fetchrow(_TAIL, *after)
    return Tail(row["rows"], max(0.0, row["age_s"]))


async def read_seal_lag(connection: Connection) -> float:
    """For how many seconds the oldest row has waited for its seal, 0 when none does."""
    (row,) = await connection.fetch(_LAG)
    return max(0.0, float(row["seal_lag_s"]))


def _link_of(row: Row) -> Link:
    last = Place(row["last_xact"], row["last_integrator_id"], row["last_audit_id"])
    return Link(
        number=row["link_no"],
        rows_before=row["rows_before"],
        row_count=row["row_count"],
        last=last,
        marks=row["marks"],
        former=row["former"],
        kid=row["kid"],
        sealed_at=row["sealed_at"],
        seal=row["seal"],
    )
