"""Integrators with a core of their own: one settles while callers wait, one later, one under the default budgets."""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from aval.domain.money import Brl
from aval.operations.set_fees import Fees, set_fees
from tests.factories import AUTHOR, Party, make_keyring, make_party
from tests.proof.deployment import RunningAval
from tests.rails.core_process import running_core

SYNC_WAIT_S = 4
FEES = Fees(pix_transfer=Brl(11), ted=Brl(250))
# promises.md ST1; a time-out holds the line for longer than the 10 s that Aval waits.
FAULTS = {
    "accept_then_timeout": 0.05,
    "accept_then_500": 0.02,
    "duplicate_callbacks": 0.05,
    "late_callbacks": 0.10,
    "stalls": 0.03,
    "hold_s": 12.0,
}
NO_FAULTS = {name: 0.0 for name in FAULTS if name != "hold_s"} | {"hold_s": 0.1}


@dataclass(frozen=True)
class Integrator:
    """A party, where its core listens, and how it settles."""

    name: str
    party: Party
    core_url: str
    is_sync: bool
    balance: int = field(default=0)  # centavos at the start


@asynccontextmanager
async def running_integrators(
    aval: RunningAval, session: aiohttp.ClientSession, receiver_url: str, chance: random.Random
) -> AsyncIterator[list[Integrator]]:
    """Make them with their cores, webhooks and fees; the cores end with the block."""
    settings: dict[str, dict[str, Any]] = {
        "sync": {"settlement_mode": "sync", "sync_wait_seconds": SYNC_WAIT_S, "budgets": False},
        "async": {"budgets": False},
        "budgeted": {"budgets": True},
    }
    integrators = []
    async with AsyncExitStack() as stack:
        for place, (name, given) in enumerate(settings.items()):
            url = stack.enter_context(running_core(by_centavos=True, seed=chance.getrandbits(32)))
            party = await make_party(
                aval.db, mode="live", ted_hours=False, requests_per_second=None, rail_url=url, **given
            )
            await set_fees(aval.db, integrator_key=party.key, fees=FEES, author=AUTHOR)
            callback = f"{aval.apis[place % len(aval.apis)].url}/rail/{party.key}/callbacks"
            await control(session, url, secret=rail_secret_of(party), callback_url=callback, **FAULTS)
            await listen(aval, session, receiver_url, name, party)
            integrators.append(Integrator(name, party, url, name == "sync", await balance_of(aval, party)))
        yield integrators


def rail_secret_of(party: Party) -> str:
    """What the core of a party signs with; shown once when the integrator is made, so it is unsealed here."""
    sealed = party.integrator.rail_secret_sealed
    assert sealed is not None
    return make_keyring().opened(sealed, associated=f"integrators/{party.key}/rail_secret")


async def control(session: aiohttp.ClientSession, url: str, **change: Any) -> None:
    """Change how a program behaves."""
    async with session.put(f"{url}/control", json=change) as answer:
        assert answer.status in (200, 204)


async def told(session: aiohttp.ClientSession, url: str) -> Any:
    """What a program has seen."""
    async with session.get(url) as answer:
        return await answer.json()


async def listen(aval: RunningAval, session: aiohttp.ClientSession, receiver_url: str, name: str, party: Party) -> None:
    """Have the webhooks of a party sent to the receiver."""
    made = await aval.call("POST", "/webhook_endpoints", {"url": f"{receiver_url}/hooks/{name}"}, key=party.api_key)
    assert made.status == 201, made.body
    await control(session, receiver_url, secrets={name: made.json["secret"]})


async def balance_of(aval: RunningAval, party: Party) -> int:
    """What the account holds, in centavos."""
    async with aval.db.connection() as connection:
        return int(
            await connection.fetchval(
                "select balance_centavos from aval.accounts where account_id = $1", party.account.key
            )
        )
