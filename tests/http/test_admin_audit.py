"""Every act of the administration leaves one row: who, what, and how it was before and after; lists in both orders."""

from typing import Any

import pytest

from aval.operations.create_admin_key import create_admin_key
from aval.operations.fresh import new_signing_key
from tests.factories import AUTHOR, Client, Reply, make_account, make_integrator, make_keyring
from tests.world import World

PHONE, OTHER_PHONE = "+5511987654321", "+5511987654322"
MASKS = ["+55 11 *****-4321", "+55 11 *****-4322"]


@pytest.fixture(scope="module")
async def secret(world: World) -> str:
    """Ana's admin key."""
    return (await create_admin_key(world.db, name="ana", keyring=make_keyring(), author=AUTHOR))[1]


@pytest.fixture
def call(world: World, secret: str):

    async def run(method: str, path: str, body: Any = None) -> Reply:
        reply = await Client(world.app, secret)(method, f"/admin/integrators{path}", body, x_correlation_id="act-1")
        assert reply.status < 300, reply.body
        return reply

    return run


async def act(world: World, action: str) -> dict[str, Any]:
    """The details of the last row of this action, which Ana must have written."""
    async with world.db.connection() as connection:
        row = await connection.fetchrow(
            "select * from audit where action = $1 and actor = 'admin:ana' and correlation_id = 'act-1'"
            " order by at desc limit 1",
            action,
        )
    assert row is not None, action
    return dict(row["details"])


async def test_each_act_tells_what_it_changed(world: World, call):
    tenant = {"name": "Loja", "ispb": "12345678", "mode": "sandbox"}
    key = (await call("POST", "", tenant)).json["integrator_key"]
    assert (await act(world, "integrator.created"))["after"]["name"] == "Loja"
    await call("PATCH", f"/{key}", {"max_resends": 2, "fixed_token": "ABC123"})
    changed = await act(world, "integrator.changed")
    assert changed["before"] == {"max_resends": 5, "fixed_token": False}
    assert changed["after"] == {"max_resends": 2, "fixed_token": True}

    signed = {"type": "signed", "scopes": ["transfers:read"], "public_key": new_signing_key()[1]}
    credential = (await call("POST", f"/{key}/credentials", signed)).json["credential_key"]
    told = {"type": "signed", "scopes": ["transfers:read"]}
    assert (await act(world, "credential.created"))["after"] == told
    await call("DELETE", f"/{key}/credentials/{credential}")
    assert (await act(world, "credential.revoked")) == {"key": credential, "before": told}

    await call("PUT", f"/{key}/fees", {"ted": 10})
    assert (await act(world, "fees.set")) == {"key": key, "before": {"ted": "0"}, "after": {"ted": "10"}}


async def test_each_act_on_an_account_tells_what_it_changed(world: World, call):
    integrator = await make_integrator(world.db)
    account = await make_account(world.db, integrator.key)
    place = f"/{integrator.key}/accounts/{account.key}"
    await call("PATCH", place, {"account_status": "blocked", "owner_name": "Outra"})
    changed = await act(world, "account.changed")
    assert (changed["before"], changed["after"]) == ({"account_status": "open"}, {"account_status": "blocked"})
    assert changed["fields"] == ["owner_name"]

    control = "7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264"
    start = (await call("GET", place)).json["balance"]
    await call("POST", f"{place}/entries", {"request_control_key": control, "entry_type": "credit", "amount": 10.5})
    entry = await act(world, "entry.posted")
    assert (entry["credit"], float(entry["after"]["balance"]) - float(entry["before"]["balance"])) == ("10.5", 10.5)
    assert float(entry["before"]["balance"]) == start

    await call("PUT", f"{place}/limits", {"pix": {"daily_amount_limit": 20000}})
    limits = await act(world, "limits.set")
    assert limits["after_centavos"] == {"pix": {"daily_amount_limit": 2_000_000}, "ted": {}}
    await call("PUT", f"{place}/fees", {"ted": 1})
    await call("DELETE", f"{place}/fees")
    assert (await act(world, "fees.set"))["before"] == {"ted": "1"}


async def test_each_act_on_an_approver_tells_what_it_changed_and_nobodys_data(world: World, call):
    integrator = await make_integrator(world.db, mode="live")
    account = await make_account(world.db, integrator.key)
    person = {"document_number": "11144477735", "name": "Ana Exemplo"}
    approver = (await call("POST", f"/{integrator.key}/approvers", person)).json["approver_key"]
    assert (await act(world, "approver.created"))["after"] == {"document": "***444777**", "active": True}
    place = f"/{integrator.key}/approvers/{approver}"
    await call("PATCH", place, {"active": False})
    changed = await act(world, "approver.changed")
    assert (changed["before"], changed["after"]) == ({"active": True}, {"active": False})

    await call("POST", f"{place}/contacts", {"contact_type": "sms", "destination": PHONE})
    made = (await call("POST", f"{place}/contacts", {"contact_type": "sms", "destination": OTHER_PHONE})).json
    registered, removed = await act(world, "contact.registered"), await act(world, "contact.removed")
    assert [removed["before"]["destination"], registered["after"]["destination"]] == MASKS
    assert registered["after"]["usable_at"] == made["usable_at"] > removed["before"]["usable_at"]
    await call("DELETE", f"{place}/contacts/{made['contact_key']}")
    assert (await act(world, "contact.removed"))["before"]["destination"] == MASKS[1]

    powers = f"/{integrator.key}/accounts/{account.key}/approvers/{approver}"
    await call("PUT", powers, {"powers": ["ted"]})
    await call("PUT", powers, {"powers": ["pix_transfer"], "max_amount": 10})
    given = await act(world, "powers.granted")
    assert given["before"] == {"powers": ["ted"], "max_amount": None}
    assert given["after"] == {"powers": ["pix_transfer"], "max_amount": "10"}
    await call("DELETE", powers)
    assert (await act(world, "powers.revoked"))["before"] == given["after"]

    async with world.db.connection() as connection:
        written = str(await connection.fetch("select audit::text from audit where integrator_id = $1", integrator.key))
    assert not any(secret in written for secret in ("11144477735", PHONE, OTHER_PHONE, "Ana Exemplo"))


async def test_lists_come_in_both_orders(world: World, call):
    integrator = await make_integrator(world.db, mode="live")
    account = await make_account(world.db, integrator.key)
    place, own = f"/{integrator.key}", f"/{integrator.key}/accounts/{account.key}"
    await make_account(world.db, integrator.key)
    people = ("11144477735", "52998224725")
    made = [(await call("POST", f"{place}/approvers", {"document_number": cpf, "name": "Ana"})).json for cpf in people]
    for kind, destination in (("sms", PHONE), ("email", "ana@example.com")):
        contact = {"contact_type": kind, "destination": destination}
        await call("POST", f"{place}/approvers/{made[0]['approver_key']}/contacts", contact)
    for number, approver in enumerate(made):
        await call("POST", f"{place}/credentials", {"type": "bearer", "scopes": ["transfers:read"]})
        control = f"7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f26{number}"
        await call("POST", f"{own}/entries", {"request_control_key": control, "entry_type": "credit", "amount": 1})
        await call("PUT", f"{own}/approvers/{approver['approver_key']}", {"powers": ["ted"]})
    contacts = f"{place}/approvers/{made[0]['approver_key']}/contacts"
    lists = [f"{place}/accounts", f"{place}/approvers", f"{place}/credentials", f"{own}/entries", f"{own}/approvers"]
    for path in (*lists, contacts, ""):
        oldest = (await call("GET", path)).json["data"]
        newest = (await call("GET", f"{path}?order_by=desc")).json["data"]
        assert newest[0] != oldest[0] and (len(oldest) == 30 or newest == oldest[::-1]), path
        assert (await call("GET", f"{path}?order_by=asc")).json["data"] == oldest
