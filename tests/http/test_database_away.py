"""A database that dies under the API: each call is told at once, nothing is half done, and it comes back by itself."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from aval.storage.database import Database
from aval.storage.embedded import EmbeddedServer
from aval.storage.migrations import migrate
from tests.factories import Party, Reply, make_party
from tests.proof.cases.household import RAIL, Household, body_of, make_household
from tests.world import World, make_world

CALL_S = 3  # promises.md OP5: no call takes longer
BACK_S = 10
CHILDREN_S = 0.2  # from the end of one child to the end of all
CALLERS = 40  # more than the pool has connections


@dataclass
class Outage:
    """A PostgreSQL of its own, and an application over it."""

    server: EmbeddedServer
    world: World
    home: Household

    def kill(self) -> None:
        """-9 to the postmaster, as a power cut would; its children end with it, a moment later."""
        number = int((self.server.place.cluster / "postmaster.pid").read_text().split()[0])
        os.kill(number, signal.SIGKILL)

    async def kill_to_the_last(self) -> None:
        """The same, until no child answers any more."""
        watcher = await asyncpg.connect(await self.server.start())
        self.kill()
        async with asyncio.timeout(CALL_S):
            while not watcher.is_closed():  # noqa: ASYNC110 – nobody tells us
                await asyncio.sleep(0.01)
        await asyncio.sleep(CHILDREN_S)

    async def call(self, method: str, template: str) -> Reply:
        """A good call, which has to be answered in time."""
        async with asyncio.timeout(CALL_S):
            return await self.world.call(
                method,
                self.home.path(template),
                body_of(self.home, method, template),
                key=self.home.credential(template),
            )


@pytest.fixture
async def outage(tmp_path: Path) -> AsyncIterator[Outage]:
    server = EmbeddedServer(tmp_path)
    dsn = await server.start()
    await migrate(dsn)
    db, api_db = await Database.open(dsn), await Database.open(dsn, role="aval_app_api")
    async with make_world(db, api_db) as world:
        world.has_server_errors = True
        yield Outage(server, world, await make_household(world))
    await db.close()
    await api_db.close()
    await server.stop()


async def approved(outage: Outage, party: Party) -> int:
    """A whole life: requested, approved."""
    key = await outage.world.request(party)
    return (await outage.world.validate(party, "pix_transfer", key, await outage.world.token(party, key))).status


async def test_a_dead_database_is_told_at_once_and_forgotten_as_soon(outage: Outage) -> None:
    world, home = outage.world, outage.home
    waiting = await world.request(home.party)
    token = await world.token(home.party, waiting)
    await outage.kill_to_the_last()
    for template, methods in world.contract.document["paths"].items():
        for method in methods:
            if f"{method.upper()} {template}" != RAIL:
                reply = await outage.call(method.upper(), template)
                assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "QIT000944", "1"), template
    calls = (world.validate(home.party, "pix_transfer", waiting, token) for _ in range(CALLERS))
    async with asyncio.timeout(CALL_S + CALLERS * 0.05):
        replies = await asyncio.gather(*calls)
    assert {reply.status for reply in replies} == {503}
    await outage.server.start()
    async with asyncio.timeout(BACK_S):
        while (await outage.call("GET", "/account/{account_key}")).status != 200:  # noqa: ASYNC110 – nobody tells us
            await asyncio.sleep(0.05)
    assert await approved(outage, home.party) == 202
    (row,) = await world.fetch("select status, attempts_used from challenges where operation_id = $1", waiting)
    assert tuple(row) == ("pending_2fa_approval", 0)
    assert (await world.validate(home.party, "pix_transfer", waiting, token)).status == 202


async def test_calls_under_way_when_it_dies_are_whole_or_nothing(outage: Outage) -> None:
    """Each answer that was given holds after the crash; what got no answer is there entirely or not at all."""
    world, party = outage.world, await make_party(outage.world.db)
    keys = [await world.request(party) for _ in range(CALLERS)]
    tokens = [await world.token(party, key) for key in keys]
    pairs = zip(keys, tokens, strict=True)
    calls = [asyncio.create_task(world.validate(party, "pix_transfer", key, token)) for key, token in pairs]
    await asyncio.sleep(0.005)
    outage.kill()
    replies = await asyncio.gather(*calls)
    assert {reply.status for reply in replies} <= {202, 500, 503}  # 500: lost within COMMIT
    await outage.server.start()
    async with asyncio.timeout(BACK_S):
        while (await outage.call("GET", "/account/{account_key}")).status != 200:  # noqa: ASYNC110 – nobody tells us
            await asyncio.sleep(0.05)
    query = (
        "select c.operation_id, c.status, count(k.*) as compared, count(j.*) as jobs, count(l.*) as entries"
        " from challenges c left join comparisons k using (integrator_id, operation_id)"
        " left join settlement_jobs j using (integrator_id, operation_id)"
        " left join ledger_entries l on l.source_id = c.operation_id where c.integrator_id = $1 group by 1, 2"
    )
    rows = {row["operation_id"]: tuple(row)[1:] for row in await world.fetch(query, party.key)}
    for key, reply in zip(keys, replies, strict=True):
        assert rows[key] in (("pending", 1, 1, 1), ("pending_2fa_approval", 0, 0, 0))
        assert reply.status == 500 or (reply.status == 202) == (rows[key][0] == "pending")
