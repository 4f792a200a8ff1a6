"""Proof of AD4: keys rotate without a failed request.

Two API processes and a worker share a keys file, and the load goes on at a steady rate – create, read the message at
the gateway, validate at the other process – while keys of tokens, seals and credentials are rotated by the command an
operator would use, and API keys are replaced over the administration's calls.
"""

import asyncio
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.factories import Party, Reply, make_admin_key, make_party
from tests.proof.deployment import SOURCE, RunningAval, figure, running_deployment

pytestmark = pytest.mark.proof

ROTATIONS = figure(3, 20)
CYCLES_PER_SECOND = 25  # of two requests each
SETTLE_S = 2  # the least AVAL_KEYS_SETTLE_SECONDS takes
BETWEEN_ROTATIONS_S = 4.0
ROTATED = ("token", "seal", "credential", "evidence")
LIVE: dict[str, Any] = {"mode": "live", "budgets": False, "requests_per_second": None, "ted_hours": False}
MESSAGE_WAIT_S = 20.0


@dataclass
class Load:
    """Transfers at a steady rate, each approved with the token that its message holds."""

    aval: RunningAval
    party: Party
    api_key: str = field(repr=False)
    answers: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    cycles: list[asyncio.Task[None]] = field(default_factory=list)

    async def run(self, stopping: asyncio.Event) -> None:
        """Begin cycles until told to stop, then wait for those under way."""
        while not stopping.is_set():
            self.cycles.append(asyncio.create_task(self._cycle()))
            await asyncio.sleep(1 / CYCLES_PER_SECOND)
        await asyncio.gather(*self.cycles)

    async def _cycle(self) -> None:
        path = f"/account/{self.party.account.key}/pix_transfer"
        created = await self._asked("POST", path, self.party.pix(transaction_amount=1), 202)
        if created.status != 202:
            return
        key = created.json["pix_transfer_key"]
        token = await self._token_in_message(UUID(key))
        if token is None:
            self.faults.append("no message")
            return
        await self._asked("PUT", f"{path}/{key}/validate_token", {"token": token}, 202)

    async def _asked(self, method: str, path: str, body: Any, expected: int) -> Reply:
        reply = await self.aval.call(method, path, body, key=self.api_key)
        self.answers[f"{method} {reply.status}"] += 1
        if reply.status != expected:
            self.faults.append(f"{method} {reply.status} {reply.code}")
        return reply

    async def _token_in_message(self, operation_key: UUID) -> str | None:
        """What the approver reads; the gateway is told of the message, and the row of the outbox of its operation."""
        async with asyncio.timeout(MESSAGE_WAIT_S):
            while True:
                async with self.aval.db.connection() as connection:
                    row = await connection.fetchrow(
                        "select message_id, state from aval.outbox where operation_id = $1", operation_key
                    )
                if row is not None and row["state"] != "ready":
                    break
                await asyncio.sleep(0.05)
        sent = [sms["text"] for sms in self.aval.sms if sms["message_key"] == str(row["message_id"])]
        found = re.search(r"([0-9A-Z]{6})$", sent[0]) if sent else None
        return None if found is None else found[1]


async def loaded(chance: random.Random, rotate: Callable[[Load, str], Awaitable[None]]) -> Load:
    """Run the load, and rotate something under it again and again."""
    async with running_deployment(apis=2, workers=1, AVAL_KEYS_SETTLE_SECONDS=str(SETTLE_S)) as aval:
        party = await make_party(aval.db, **LIVE)
        load = Load(aval, party, party.api_key)
        admin_key = await make_admin_key(aval.db)
        stopping = asyncio.Event()
        running = asyncio.create_task(load.run(stopping))
        for _ in range(ROTATIONS):
            await asyncio.sleep(BETWEEN_ROTATIONS_S * (0.75 + chance.random() / 2))
            await rotate(load, admin_key)
        await asyncio.sleep(BETWEEN_ROTATIONS_S)
        stopping.set()
        await running
        print(f"rotation: {ROTATIONS} rotations under {dict(load.answers)}")
    return load


async def test_keys_of_the_deployment_rotate_without_a_failed_request(chance: random.Random) -> None:
    kids: set[str] = set()

    async def rotate(load: Load, _: str) -> None:
        for purpose in ROTATED:
            await asyncio.to_thread(_keyring_command, load.aval, "rotate", purpose)
        async with load.aval.db.connection() as connection:
            kids.update(row["kid"] for row in await connection.fetch("select distinct kid from aval.challenges"))

    load = await loaded(chance, rotate)
    assert load.faults == []
    assert len(kids) > ROTATIONS - 1, "tokens were made with the keys before and after each rotation"


async def test_api_keys_are_replaced_without_a_failed_request(chance: random.Random) -> None:
    former: list[str] = []

    async def rotate(load: Load, admin_key: str) -> None:
        path = f"/admin/integrators/{load.party.key}/credentials"
        body = {"type": "bearer", "scopes": ["transfers:write", "transfers:read"]}
        made = await load.aval.call("POST", path, body, key=admin_key)
        assert made.status == 201, made.body
        former.append(load.api_key)
        load.api_key = made.json["api_key"]
        await asyncio.gather(*(cycle for cycle in load.cycles if not cycle.done()))  # the old key is in use until then
        listed = (await load.aval.call("GET", path, key=admin_key)).json["data"]
        (old,) = [row for row in listed if row["active"] and row["credential_key"] != made.json["credential_key"]]
        revoked = await load.aval.call("DELETE", f"{path}/{old['credential_key']}", key=admin_key)
        assert revoked.status == 204
        for api in load.aval.apis:
            refused = await load.aval.call("GET", f"/account/{load.party.account.key}", key=former[-1], api=api)
            assert refused.code == "GDF000014", "a revoked key is dead at the next request, everywhere"

    load = await loaded(chance, rotate)
    assert load.faults == []


def _keyring_command(aval: RunningAval, *arguments: str) -> None:
    """`aval admin keyring …` on the deployment's keys file, as an operator runs it."""
    folder = Path(aval.apis[0].log).parent
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "AVAL_ENV": "development"}
    environment |= {"AVAL_DATABASE_URL": aval.dsn, "AVAL_KEYS_FILE": str(folder / "keys.json")}
    subprocess.run(
        [sys.executable, "-m", "aval", "admin", "keyring", *arguments],
        env=environment,
        check=True,
        capture_output=True,
    )
