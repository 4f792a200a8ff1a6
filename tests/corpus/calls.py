"""§4.9: calls that come twice, too early or too often, and answers that depend on what changed meanwhile."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from aval.domain.errors import entry
from tests.corpus.asking import (
    APPROVED,
    KINDS,
    PREFIX,
    SCHEMA,
    created,
    dearer,
    good,
)
from tests.factories import make_party
from tests.proof.cases.household import Household
from tests.proof.cases.trial import trial_of
from tests.world import World, body_of


@pytest.mark.parametrize("kind", KINDS)
async def test_creates_repeated(world: World, home: Household, kind: str) -> None:
    prefix = PREFIX[kind]
    with trial_of(world, at_least=12) as trial:
        body = good(home, kind)
        first = await trial.accepted("first", created(world, home, kind, body), 202)
        before = await world.snapshot()
        again = await trial.accepted("again", created(world, home, kind, body), 202)
        trial.expect("replayed", (again.json, again.headers.get("idempotent-replayed")), (first.json, "true"))
        shuffled = json.dumps(dict(reversed(body.items())), indent=2).replace("202.01", "202.01 ").encode()
        again = await trial.accepted("other spelling", created(world, home, kind, shuffled), 202)
        trial.expect("other spelling", again.json, first.json)
        by_email = body | {"tfa_info": home.party.tfa_info | {"contact_type": "email"}}
        for number, other in enumerate((dearer(body), by_email)):
            await trial.refused(number, created(world, home, kind, other), 409, f"{prefix}000902")
        await trial.unchanged(before)
        body = good(home, kind)
        replies = await asyncio.gather(*(created(world, home, kind, body) for _ in range(8)))
        trial.expect("8 at once", len({(each.status, each.json[f"{kind}_key"]) for each in replies}), 1)
        trial.done += 8


@pytest.mark.parametrize("kind", KINDS)
async def test_resends_too_early_and_too_many(world: World, home: Household, kind: str) -> None:
    prefix = PREFIX[kind]
    key = await world.request(home.party, kind)
    path = f"/account/{home.keys['account_key']}/{kind}/{key}/resend_token"
    with trial_of(world, at_least=12) as trial:
        for _ in range(5):
            before = await world.snapshot()
            call = world.call("PATCH", path, key=home.party.api_key)
            reply = await trial.refused("early", call, 429, f"{prefix}000903")
            trial.expect("early", 1 <= int(reply.headers["retry-after"]) <= 30, True)
            await trial.unchanged(before)
            await world.advance(key, 31)
            await trial.accepted("in time", world.call("PATCH", path, key=home.party.api_key), 202)
        await world.advance(key, 31)
        before = await world.snapshot()
        await trial.refused("sixth", world.call("PATCH", path, key=home.party.api_key), 429, f"{prefix}000904")
        for body in ({"contact_type": "device"}, {"contact_type": "fax"}, {"contact_type": 1}, {"destination": "x"}):
            await trial.refused(body, world.call("PATCH", path, body, key=home.party.api_key), *SCHEMA)
        await trial.unchanged(before)


CHANGES = {
    "account_unavailable": "update accounts set status = 'blocked' where integrator_id = $1",
    "approver_not_allowed": "update approvers set active = false where integrator_id = $1",
    "insufficient_funds": "update accounts set balance_centavos = 0 where integrator_id = $1",
    "limit_exceeded": 'update accounts set limits = \'{"pix": {"operation_amount_limit": 1}, "ted": '
    '{"operation_amount_limit": 1}}\' where integrator_id = $1',
    "outside_ted_hours": "update integrators set ted_hours = true, version = version + 1 where integrator_id = $1",
    "contact_not_available": "update contacts set removed_at = now() where integrator_id = $1",
    "error_validating_token": "update challenges set kid = 'gone' where integrator_id = $1",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reason", CHANGES)
async def test_what_changed_meanwhile_refuses_a_create_and_rejects_a_right_token(
    world: World, kind: str, reason: str
) -> None:
    """Step 12 of §4.1, and the same checks of a create; the rejected body has its snapshot."""
    party, is_ted = await make_party(world.db), kind.startswith("ted")
    key = await world.request(party, kind)
    token = await world.token(party, key)
    await world.execute(CHANGES[reason], party.key)
    is_met = is_ted or reason != "outside_ted_hours"
    told = entry(f"{'ted' if is_ted else 'pix'}.{reason}" if is_met else "qit.internal_error")
    body = body_of(party, kind)
    made = await world.call("POST", f"/account/{party.account.key}/{kind}", body, key=party.api_key)
    assert (made.status, made.code) == ((told.http, told.code) if is_met and "token" not in reason else (202, None))
    reply = await world.validate(party, kind, key, token)
    if not is_met or reason == "contact_not_available":
        assert reply.status == APPROVED[kind]
    elif reason == "error_validating_token":
        assert (reply.status, reply.code, reply.json["extra_fields"]) == (told.http, told.code, {})
        assert await world.fetch("select from comparisons where operation_id = $1", key) == []
    else:
        assert (reply.status, reply.code) == (told.http, told.code)
        assert reply.json["extra_fields"][f"{kind}_data"][f"{kind}_status"] == "rejected"


@pytest.mark.parametrize("kind", KINDS)
async def test_other_refusals_of_creates_and_resends(world: World, kind: str) -> None:
    """No tfa_info, a device nobody registered, a channel that is closed or has no contact or a limit."""
    live = {"mode": "live", "budgets": False, "ted_hours": False, "requests_per_second": None}
    party, prefix = await make_party(world.db, **live), PREFIX[kind]
    home = Household(party, "", {"account_key": str(party.account.key)})
    device = {"contact_type": "device", "session_id": str(uuid4())}
    closed, resend_closed = {"PXT": ("PXT000910", "PXT000176"), "TED": ("TED000081", "TED000087")}[prefix]
    tfa_required = "PXT000909" if prefix == "PXT" else "TED000080"
    first, second = await world.request(party, kind), await world.request(party, kind)
    await world.advance(first, 31)
    await world.advance(second, 31)
    path = f"/account/{party.account.key}/{kind}/{{}}/resend_token"

    def resend(key: UUID) -> Any:
        return world.call("PATCH", path.format(key), {"contact_type": "email"}, key=party.api_key)

    with trial_of(world, at_least=7) as trial:
        await trial.refused("none", created(world, home, kind, good(home, kind, tfa_info=None)), 400, tfa_required)
        body = good(home, kind, tfa_info=party.tfa_info | device)
        await trial.refused("device", created(world, home, kind, body), 400, f"{prefix}000912")
        limits = f'{{"{"pix" if prefix == "PXT" else "ted"}": {{"email_amount_limit": 1}}}}'
        await world.execute("update accounts set limits = $2 where integrator_id = $1", party.key, limits)
        await trial.refused("limit", resend(first), 400, f"{prefix}000914")
        await world.execute("update accounts set limits = '{}' where integrator_id = $1", party.key)
        await world.execute("update channel_states set closed_until = now() + interval '1 hour'")
        await trial.refused("closed", created(world, home, kind, good(home, kind)), 400, closed)
        await trial.refused("closed", resend(first), 400, resend_closed)
        await world.execute("update channel_states set closed_until = null")
        await trial.accepted("open", resend(second), 202)
        await world.execute(CHANGES["contact_not_available"], party.key)
        await trial.refused("no contact", resend(first), 400, f"{prefix}000913")
        reply = await world.call("PATCH", path.format(first), key=party.api_key, idempotency_key="one")
        trial.expect("conflict", reply.status, 400)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_idempotency_key_with_another_body(world: World, home: Household, kind: str) -> None:
    key, other = await world.request(home.party, kind), await world.request(home.party, kind)
    await world.advance(other, 31)
    path = f"/account/{home.keys['account_key']}/{kind}"
    with trial_of(world, at_least=3) as trial:
        await world.validate(home.party, kind, key, "UUUUUU", idempotency_key="one")
        before = await world.snapshot()
        call = world.validate(home.party, kind, key, "VVVVVV", idempotency_key="one")
        await trial.refused("validate", call, 409, f"{PREFIX[kind]}000902", "VVVVVV")
        await trial.unchanged(before)
        for number, body in enumerate(({"contact_type": "sms"}, {"contact_type": "email"})):
            call = world.call(
                "PATCH", f"{path}/{other}/resend_token", body, key=home.party.api_key, idempotency_key="x"
            )
            if number:
                await trial.refused("resend", call, 409, f"{PREFIX[kind]}000902")
            else:
                await trial.accepted("resend", call, 202)
        call = world.call("PATCH", f"{path}/{key}/cancel", key=home.party.api_key, idempotency_key="y")
        await trial.accepted("cancel", call, 200)
