"""§4.3: money on its way in, wherever it is written."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.corpus.asking import (
    PREFIX,
    SCHEMA,
    SINGLES,
    SYNTAX,
    created,
    good,
    with_text,
)
from tests.factories import make_party
from tests.proof.cases import values
from tests.proof.cases.household import Household
from tests.proof.cases.trial import trial_of
from tests.world import World


@pytest.mark.parametrize("kind", SINGLES)
async def test_amounts(world: World, home: Household, kind: str) -> None:
    before = await world.snapshot()
    with trial_of(world, at_least=45) as trial:
        for text in values.NO_AMOUNTS:
            call = created(world, home, kind, with_text(good(home, kind), "transaction_amount", text))
            reply = await trial.refused(text, call, *SCHEMA, text)
            trial.expect(text, reply.json["extra_fields"]["errors"][0]["field"], "transaction_amount")
        for text in values.NO_NUMBERS:
            call = created(world, home, kind, with_text(good(home, kind), "transaction_amount", text))
            await trial.refused(text, call, *SYNTAX)
        await trial.unchanged(before)
        for text, centavos in values.AMOUNTS.items():
            call = created(world, home, kind, with_text(good(home, kind), "transaction_amount", text))
            reply = await trial.accepted(text, call, 202)
            query = "select amount_centavos from operations where operation_id = $1"
            (row,) = await world.fetch(query, UUID(reply.json[f"{kind}_key"]))
            trial.expect(text, row["amount_centavos"], centavos)
        call = created(world, home, kind, with_text(good(home, kind), "transaction_amount", "9999999.99"))
        await trial.refused("all there is", call, 400, f"{PREFIX[kind]}000901")


async def test_amounts_elsewhere(world: World, home: Household) -> None:
    """Entries, fees, limits and maxima read amounts by the same rule."""
    account = f"/admin/integrators/{home.keys['integrator_key']}/accounts/{home.keys['account_key']}"
    entry = {"request_control_key": str(uuid4()), "entry_type": "credit", "amount": 1}
    places: list[tuple[str, str, dict[str, Any], str]] = [
        ("POST", f"{account}/entries", entry, "amount"),
        ("PUT", f"{account}/fees", {"ted": 1}, "ted"),
        ("PUT", f"{account}/limits", {"pix": {"sms_amount_limit": 1}}, "pix.sms_amount_limit"),
        ("PUT", f"{account}/approvers/{home.keys['approver_key']}", {"powers": ["ted"], "max_amount": 1}, "max_amount"),
    ]
    before = await world.snapshot()
    with trial_of(world, at_least=80) as trial:
        for method, path, body, place in places:
            for text in values.NO_AMOUNTS:
                if (text == "null" and place != "amount") or (text in ("0", "0.0", "0.00") and path.endswith("/fees")):
                    continue  # no limit, or no fee
                call = world.call(method, path, key=home.admin_key, raw=with_text(body, place, text))
                await trial.refused((place, text), call, *SCHEMA)
        await trial.unchanged(before)


async def test_impossible_amounts(world: World, home: Household) -> None:
    """Above each limit: 914 with the limit's name, at request; nothing is stored."""
    party = await make_party(world.db)
    limited = Household(party, home.admin_key, home.keys | {"account_key": str(party.account.key)})
    path = f"/admin/integrators/{party.key}/accounts/{party.account.key}/limits"
    with trial_of(world, at_least=8) as trial:
        for kind, family, prefix in (("pix_transfer", "pix", "PXT"), ("ted", "ted", "TED")):
            for name in ("operation", "daily", "nightly", "sms"):
                limits = {f"{each}_amount_limit": 100 for each in ({"daily", "nightly"} if name in DAY else {name})}
                put = world.call("PUT", path, {family: limits}, key=home.admin_key)
                await trial.accepted(name, put, 200)
                before = await world.snapshot()
                call = created(world, limited, kind, good(limited, kind, transaction_amount=100.01))
                reply = await trial.refused((kind, name), call, 400, f"{prefix}000914")
                reason = reply.json["extra_fields"].get("reason")
                allowed = {f"{each}_amount_limit" for each in (DAY if name in DAY else {name})}
                trial.expect((kind, name), reason in allowed, True)
                await trial.unchanged(before)
                call = created(world, limited, kind, good(limited, kind, transaction_amount=100))
                await trial.accepted((kind, name), call, 202)


DAY = {"daily", "nightly"}
