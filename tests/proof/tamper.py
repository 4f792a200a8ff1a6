"""Proof of AU2 and AU3 (T26, D14): no change of the sealed audit goes unfound, and none of its rows is passed over.

Rows and links are changed by one with all rights, to whom triggers are nothing, and who knows the form of the chain but
not its key. An oracle that knows nothing of the chain says which row is the first bad one: it compares all rows with
those of before. What only a root off the host can show (AU4) is not asked for: links cut off the end, and a chain that
was sealed anew with its key.

Figures are those of pull requests; AVAL_PROOF_NIGHTLY=1 takes the nightly ones, AVAL_PROOF_SEED repeats a run, and
AVAL_PROOF_TAMPER_SECONDS=8 makes a short storm, for planted bug 30.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from aval.domain.audit_chain import KEYED_MARK_BYTES, ChainedRow, Head, Link, next_link
from aval.domain.audit_check import Fault
from aval.domain.keyring import Key, Purpose
from aval.operations.seal_audit import seal_audit
from aval.operations.verify_audit import verify_audit
from aval.storage.audit import AuditRow, append_audit
from aval.storage.audit_chain import read_chain, read_head, read_tail
from aval.storage.database import Connection, Database, DatabaseUnavailable
from tests.factories import make_keyring
from tests.operations.test_seal_audit import until_sealable
from tests.proof.deployment import RunningAval, figure, running_deployment
from tests.stage import until

pytestmark = pytest.mark.proof

TAMPERINGS = figure(500, 10_000)  # promises.md AU2
ROWS = 300
STORM_S = float(os.environ.get("AVAL_PROOF_TAMPER_SECONDS") or figure(20, 300))
START_MAX_S = 60.0
WRITERS = 32  # promises.md AU3
LAG_P99_MAX_S = 5.0
INTEGRATORS = [UUID(int=number) for number in range(5)]
STRANGER = Key(
    Purpose.EVIDENCE, make_keyring().current(Purpose.EVIDENCE).kid, b"s" * 32, datetime(2026, 1, 1, tzinfo=UTC)
)


def act(chance: random.Random) -> AuditRow:
    """An act as Aval writes them."""
    details = {"status": chance.choice(["pending", "rejected"]), "amount": chance.randrange(10**9), "name": "Conceição"}
    return AuditRow(
        integrator_key=chance.choice(INTEGRATORS),
        actor=chance.choice(["admin:ana", "worker", f"credential:{uuid4()}"]),
        action=chance.choice(["operation.judged", "settlement.revived", "account.created"]),
        operation_key=chance.choice([None, uuid4()]),
        correlation_id=str(uuid4()),
        at=datetime.now(UTC),
        details=details,
    )


@dataclass
class Sealed:
    """The audit before anybody touched it: all rows in their order, and the links."""

    rows: list[ChainedRow]
    links: list[Link]

    def link_of(self, number: int) -> Link:
        """The link that sealed a row."""
        return next(link for link in reversed(self.links) if link.rows_before < number)


class SameTransaction:
    """Lends one connection inside its transaction, which is rolled back afterwards."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        yield self._connection


@pytest.fixture(scope="module")
async def sealed(module_dsn: str) -> AsyncIterator[tuple[Database, Sealed]]:
    """A chain of links of many sizes over transactions of many sizes."""
    chance = random.Random("chain")
    db = await Database.open(module_dsn)
    rows = 0
    while rows < ROWS:
        for _ in range(chance.randrange(1, 8)):
            async with db.transaction() as connection:
                size = chance.choice([1, 1, 1, 2, 5, 20])
                await append_audit(connection, [act(chance) for _ in range(size)])
                rows += size
        await until_sealable(db)
        while await seal_audit(db, keyring=make_keyring(), most=chance.choice([1, 3, 10, 50])):
            continue
    read = [each async for each in read_chain(db)]
    yield db, Sealed([row for _, rows in read for row in rows], [link for link, _ in read])
    await db.close()


async def execute(connection: Connection, statement: str, *arguments: object) -> None:
    assert not (await connection.execute(statement, *arguments)).endswith(" 0"), statement


Tampering = Callable[[Connection, Sealed, random.Random], Awaitable[int | None]]
"""Changes something; answers the number of the first bad row, or None where the oracle has to say it."""

EDITS = {
    "at": "at - interval '1 microsecond'",
    "actor": "actor || ' '",
    "action": "'operation.cancelled'",
    "operation_id": "gen_random_uuid()",
    "details": "details || '{\"amount\": 1}'",
    "correlation_id": "correlation_id || '-'",
    "integrator_id": "gen_random_uuid()",
    "audit_id": "gen_random_uuid()",
    "xact": "(xact::text::bigint / 2)::text::xid8",
}


async def edit(connection: Connection, sealed: Sealed, chance: random.Random) -> None:
    column, value = chance.choice(list(EDITS.items()))
    row = chance.choice(sealed.rows)
    await execute(connection, f"update audit set {column} = {value} where audit_id = $1", UUID(row.audit_id))


async def delete(connection: Connection, sealed: Sealed, chance: random.Random) -> None:
    begin = chance.randrange(len(sealed.rows))
    gone = [UUID(row.audit_id) for row in sealed.rows[begin : begin + chance.choice([1, 1, 2, 30])]]
    await execute(connection, "delete from audit where audit_id = any($1)", gone)


async def insert(connection: Connection, sealed: Sealed, chance: random.Random) -> None:
    """A row beside a sealed one, in its transaction or in one before it."""
    row, back = chance.choice(sealed.rows[:-1]), chance.choice([0, 0, 1, 100])
    await execute(
        connection,
        "insert into audit select integrator_id, gen_random_uuid(), at, 'admin:eva', action, operation_id, details,"
        " correlation_id, greatest(xact::text::bigint - $2, 1)::text::xid8 from audit where audit_id = $1",
        *(UUID(row.audit_id), back if row.xact < sealed.rows[-1].xact else 100),
    )


async def swap(connection: Connection, sealed: Sealed, chance: random.Random) -> None:
    """Two rows trade what they say, or their places."""
    one, two = chance.sample(sealed.rows, 2)
    said = "actor, action, details, correlation_id, operation_id, at"
    columns = chance.choice([said, "xact"]) if one.xact != two.xact else said
    new = ", ".join(f"{name} = o.{name}" for name in columns.split(", "))
    await execute(
        connection,
        f"update audit a set {new} from audit o where a.audit_id in ($1, $2) and o.audit_id in ($1, $2)"
        " and a.audit_id <> o.audit_id",
        *(UUID(one.audit_id), UUID(two.audit_id)),
    )


async def cut(connection: Connection, sealed: Sealed, chance: random.Random) -> int:
    """Links go, with their rows or without, from the beginning or the middle; what follows is perhaps numbered anew."""
    begin = chance.randrange(len(sealed.links) - 1)
    end = chance.randrange(begin + 1, len(sealed.links))
    gone, follower = sealed.links[begin:end], sealed.links[end]
    await execute(
        connection, "delete from audit_links where link_no between $1 and $2", gone[0].number, gone[-1].number
    )
    if chance.random() < 0.5:
        rows = [UUID(row.audit_id) for row in sealed.rows[gone[0].rows_before : follower.rows_before]]
        await execute(connection, "delete from audit where audit_id = any($1)", rows)
    if chance.random() < 0.5:
        for link in sealed.links[end:]:
            await execute(
                connection,
                "update audit_links set link_no = link_no - $2, rows_before = rows_before - $3 where link_no = $1",
                *(link.number, len(gone), follower.rows_before - gone[0].rows_before),
            )
    return gone[0].rows_before + 1


LINK_EDITS = {
    "row_count": "row_count + 1",
    "rows_before": "rows_before + 1",
    "kid": "'mine'",
    "sealed_at": "sealed_at - interval '1 microsecond'",
    "former": "sha256(former)",
    "seal": "sha256(seal)",
    "last_audit_id": "gen_random_uuid()",
}


async def edit_link(connection: Connection, sealed: Sealed, chance: random.Random) -> tuple[int, int]:
    """Anything a link says; any row of it may be told."""
    link = chance.choice(sealed.links)
    column, value = chance.choice(list(LINK_EDITS.items()))
    if chance.random() < 0.3:
        place = chance.randrange(len(link.marks))
        other = bytes(byte ^ (1 << chance.randrange(8)) if n == place else byte for n, byte in enumerate(link.marks))
        await execute(connection, "update audit_links set marks = $2 where link_no = $1", link.number, other)
        number = link.rows_before + place // KEYED_MARK_BYTES + 1
        return number, number
    await execute(connection, f"update audit_links set {column} = {value} where link_no = $1", link.number)
    return link.rows_before + 1, link.rows_before + link.row_count


async def swap_links(connection: Connection, sealed: Sealed, chance: random.Random) -> int:
    """Two links of one size trade all but their numbers, or all but their ends."""
    pairs = [(a, b) for a in sealed.links for b in sealed.links if a.number < b.number and a.row_count == b.row_count]
    one, two = chance.choice(pairs)
    said = "marks, former, kid, sealed_at, seal"
    columns = chance.choice([said, f"{said}, rows_before, last_xact, last_integrator_id, last_audit_id"]).split(", ")
    new = ", ".join(f"{name} = o.{name}" for name in columns)
    await connection.execute("alter table audit_links drop constraint audit_links_former_key")
    await connection.execute("alter table audit_links drop constraint audit_links_seal_key")
    await execute(
        connection,
        f"update audit_links l set {new} from audit_links o where l.link_no in ($1, $2) and o.link_no in ($1, $2)"
        " and l.link_no <> o.link_no",
        *(one.number, two.number),
    )
    return one.rows_before + 1


async def hash_anew(connection: Connection, sealed: Sealed, chance: random.Random) -> int:
    """A row is changed, and its link sealed anew, perhaps with those after it: with a key of one's own."""
    row_at = chance.randrange(len(sealed.rows))
    first = sealed.link_of(row_at + 1)
    await execute(
        connection, "update audit set actor = 'admin:eva' where audit_id = $1", UUID(sealed.rows[row_at].audit_id)
    )
    rows = list(sealed.rows)
    rows[row_at] = rows[row_at]._replace(actor="admin:eva")
    until = chance.choice([first.number, first.number + 1, len(sealed.links)])
    before = sealed.links[first.number - 2] if first.number > 1 else None
    head = Head.of(before) if before else Head(0, 0, rows[0].place, bytes(32))
    for link in sealed.links[first.number - 1 : until]:
        made = next_link(
            rows[link.rows_before : link.rows_before + link.row_count], head, STRANGER, sealed_at=link.sealed_at
        )
        if link is first and chance.random() < 0.5:  # all other marks are left as they were
            place = (row_at - link.rows_before) * KEYED_MARK_BYTES
            own = made.marks[place : place + KEYED_MARK_BYTES]
            made = replace(made, marks=link.marks[:place] + own + link.marks[place + KEYED_MARK_BYTES :])
            first_bad = row_at + 1
        elif link is first:
            first_bad = link.rows_before + 1
        await execute(
            connection,
            "update audit_links set marks = $2, former = $3, seal = $4 where link_no = $1",
            *(link.number, made.marks, made.former, made.seal),
        )
        head = Head.of(made)
    return first_bad


TAMPERINGS_OF = {
    "edit": edit,
    "delete": delete,
    "insert": insert,
    "swap": swap,
    "cut": cut,
    "edit of a link": edit_link,
    "swap of links": swap_links,
    "re-hash of a part": hash_anew,
}


async def first_difference(connection: Connection, sealed: Sealed) -> int:
    """The oracle: the number of the first row that is not as it was, among those up to the last sealed one."""
    rows = [ChainedRow(*row) for row in await connection.fetch(ALL_ROWS)]
    rows = [row for row in rows if row.place <= sealed.rows[-1].place]
    pairs = enumerate(zip([*sealed.rows, None], [*rows, None], strict=False), 1)
    return next(number for number, (before, after) in pairs if before != after)


ALL_ROWS = """
select xact, integrator_id::text, audit_id::text, extract(epoch from at)::text, actor, action, operation_id::text,
       details::text, correlation_id
  from audit order by xact, integrator_id, audit_id
"""


async def missed(connection: Connection, name: str, sealed: Sealed, chance: random.Random) -> str | None:
    """Tamper, verify, and compare what is told with what was done."""
    told = await cast(Any, TAMPERINGS_OF[name])(connection, sealed, chance)
    fault = (await verify_audit(cast(Database, SameTransaction(connection)), keyring=make_keyring())).fault
    low, high = told if isinstance(told, tuple) else [told or await first_difference(connection, sealed)] * 2
    if fault is None:
        return f"{name}: not found (row {low})"
    return (
        None if low <= fault.row_no <= high and is_named(fault, sealed) else f"{name}: row {low}–{high}, told {fault}"
    )


def is_named(fault: Fault, sealed: Sealed) -> bool:
    """The key is that of the row that lay there, or of a row that was put there."""
    keys = {row.audit_id for row in sealed.rows}
    lay_there = fault.row_no <= len(sealed.rows) and sealed.rows[fault.row_no - 1].audit_id == fault.audit_id
    return lay_there or fault.audit_id not in keys or fault.kind.startswith("link") or fault.kind in MOVED


MOVED = ("added", "changed")  # a sealed row that lies in another place is named itself


async def test_every_tampering_is_found_and_the_first_bad_row_named(
    sealed: tuple[Database, Sealed], chance: random.Random, capsys: pytest.CaptureFixture[str]
) -> None:
    db, before = sealed
    assert (await verify_audit(db, keyring=make_keyring())).fault is None
    missing: list[str] = []
    counts: Counter[str] = Counter()
    names = list(TAMPERINGS_OF)
    for number in range(TAMPERINGS):
        name = names[number % len(names)]
        counts[name] += 1
        with suppress(_Undone):
            async with db.transaction() as connection:
                await connection.execute("set local session_replication_role = replica")
                for constraint in await connection.fetch(CHECKS):
                    await connection.execute(f"alter table audit_links drop constraint {constraint['conname']}")
                found = await missed(connection, name, before, chance)
                missing += [found] if found else []
                raise _Undone
    with capsys.disabled():
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        print(f"  {len(before.rows)} rows in {len(before.links)} links; {told}; {len(missing)} missed")
    assert missing == []
    assert (await verify_audit(db, keyring=make_keyring())).fault is None


CHECKS = "select conname from pg_constraint where conrelid = 'audit_links'::regclass and contype = 'c'"


class _Undone(Exception):
    """Takes a tampering back."""


@dataclass
class Storm:
    """Writers, and what became of their rows."""

    db: Database = field(repr=False)
    chance: random.Random
    committed: set[str] = field(default_factory=set)
    fates: Counter[str] = field(default_factory=Counter)

    async def write(self, end: float) -> None:
        """One transaction after another: short and long ones, and those that roll back or lose their connection."""
        loop = asyncio.get_running_loop()
        while loop.time() < end:
            fate = self.chance.choices(["commit", "undo", "loss"], [0.9, 0.06, 0.04])[0]
            acts = [act(self.chance) for _ in range(self.chance.choice([1, 1, 1, 2, 6]))]
            hold_s = self.chance.choices([0.0, 0.05, 1.5], [0.7, 0.27, 0.03])[0] * self.chance.random()
            with suppress(_Undone, DatabaseUnavailable):
                async with self.db.transaction() as connection:
                    await self.append(connection, acts, hold_s)
                    if fate == "loss":
                        connection.terminate()
                    if fate != "commit":
                        raise _Undone
                self.committed |= {each.correlation_id for each in acts}
            self.fates[fate] += 1
            await asyncio.sleep(0.2 * self.chance.random())

    async def append(self, connection: Connection, acts: Sequence[AuditRow], hold_s: float) -> None:
        """In one statement or two, with time between them and the end."""
        for part in (acts[:1], acts[1:]):
            now = await connection.fetchval("select clock_timestamp()")
            await append_audit(connection, [AuditRow(**{**_fields(each), "at": now}) for each in part])
            await asyncio.sleep(hold_s / 2)


def _fields(row: AuditRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in AuditRow.__dataclass_fields__}


async def kill_workers(aval: RunningAval, chance: random.Random, end: float) -> int:
    """One after the other, each time the one before is at work again; answers how often."""
    kills, loop = 0, asyncio.get_running_loop()
    while loop.time() < end:
        await asyncio.sleep(2 * chance.random())
        worker, before = aval.workers[kills % len(aval.workers)], await sealers(aval.db)
        worker.kill()
        await worker.start()
        await until(partial(has_new_sealer, aval.db, before), within_s=START_MAX_S)
        kills += 1
    return kills


async def sealers(db: Database) -> set[int]:
    """Sessions of workers that have begun to seal."""
    async with db.connection() as connection:
        rows = await connection.fetch("select pid from pg_stat_activity where application_name = 'aval_sealer'")
    return {row["pid"] for row in rows}


async def has_new_sealer(db: Database, before: set[int]) -> bool:
    return bool(await sealers(db) - before)


LAGS = "select percentile_disc($1::float8[]) within group (order by lag) from unnest($2::float8[]) lag"


async def test_no_row_is_passed_over_by_sealers_that_are_killed_under_a_storm_of_writers(
    chance: random.Random, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_deployment(apis=0, workers=3) as aval:
        await until(partial(has_new_sealer, aval.db, set()), within_s=START_MAX_S)
        writers = await Database.open(aval.dsn, role="aval_app_api", pool_size=WRITERS)
        storm = Storm(writers, chance)
        end = asyncio.get_running_loop().time() + STORM_S
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(kill_workers(aval, chance, end))
            for _ in range(WRITERS):
                group.create_task(storm.write(end))
        await writers.close()
        await until_sealed(aval.db)
        report = await verify_audit(aval.db, keyring=make_keyring())
        lags = [float(link.sealed_at) - float(row.at) async for link, rows in read_chain(aval.db) for row in rows]
        async with aval.db.connection() as connection:
            stored = {row[0] for row in await connection.fetch("select correlation_id from audit")}
            (p50, p99, longest) = await connection.fetchval(LAGS, [0.5, 0.99, 1.0], lags)
        with capsys.disabled():
            print(f"  {WRITERS} writers, {dict(storm.fates)}, {killing.result()} kills: {report.head.rows} rows in")
            print(f"  {report.head.number} links; lag p50 {p50:.2f} s, p99 {p99:.2f} s, longest {longest:.2f} s")
        assert report.fault is None
        assert storm.committed == stored
        assert report.head.rows == len(lags) == await rows_of(aval.db)
        assert p99 <= LAG_P99_MAX_S


async def rows_of(db: Database) -> int:
    async with db.connection() as connection:
        return int(await connection.fetchval("select count(*) from audit"))


async def until_sealed(db: Database) -> None:
    """Wait until the last row that was written is sealed; rows that were passed over keep nobody waiting."""

    async def is_sealed() -> bool:
        async with db.connection() as connection:
            head = await read_head(connection)
            return (await read_tail(connection, head.last)).rows == 0

    await until(is_sealed)
