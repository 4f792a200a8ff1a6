"""§4.1, §4.2 and §4.9 of devices: what each of their calls is refused for; `authenticator` has the signatures."""

from typing import Any
from uuid import uuid4

import pytest

from tests.corpus.asking import KINDS, PREFIX, SCHEMA
from tests.devices.authenticator import AppKey
from tests.devices.registering import Enrollment, registered
from tests.devices.signing import Signing, request_by_device
from tests.factories import make_party
from tests.proof.cases.trial import trial_of
from tests.world import World

LIVE = {"mode": "live", "budgets": False, "ted_hours": False, "requests_per_second": None}
BLOCK = "update accounts set status = 'blocked' where integrator_id = $1"
OPEN = "update accounts set status = 'open' where integrator_id = $1"


async def test_challenges_and_registrations(world: World) -> None:
    party = await make_party(world.db, **LIVE)
    device = Enrollment(world, party, AppKey())
    stranger = {"approver_document_number": "39053344705"}
    with trial_of(world, at_least=18) as trial:
        await trial.refused("stranger", device.challenge(**stranger), 403, "OBD000906")
        await world.execute(BLOCK, party.key)
        await trial.refused("blocked", device.challenge(), 400, "OBD000088")
        await world.execute(OPEN, party.key)
        await trial.accepted("challenge", device.challenge(), 201)
        before = await world.snapshot()
        await trial.refused("again", device.challenge(), 409, "OBD000902")
        for name, change, status, code in (
            ("no tfa_info", {"tfa_info": None}, 400, "OBD000909"),
            ("stranger", {"tfa_info": party.tfa_info | stranger}, 403, "OBD000906"),
            ("unknown session", {"session_id": str(uuid4())}, 400, "OBD000926"),
            ("other key", {"credential": AppKey().make_credential(bytes(32), uuid4())}, 400, "OBD000924"),
            ("by device", {"tfa_info": party.tfa_info | {"contact_type": "device"}}, *SCHEMA),
            ("a session for a token", {"tfa_info": party.tfa_info | {"session_id": str(uuid4())}}, *SCHEMA),
            ("no name", {"device_name": "\u200b"}, *SCHEMA),
            ("text for bytes", {"credential": {"type": "p256", "public_key": "é", "signature": "é"}}, *SCHEMA),
        ):
            await trial.refused(name, device.create(**change), status, code)
        await trial.unchanged(before)
        await world.execute(BLOCK, party.key)
        await trial.refused("blocked", device.create(), 400, "OBD000088")
        await world.execute(OPEN, party.key)
        await world.execute("update channel_states set closed_until = now() + interval '1 hour'")
        await trial.refused("closed", device.create(), 400, "OBD000097")
        await world.execute("update channel_states set closed_until = null")
        await world.execute(
            "update contacts set removed_at = now() where integrator_id = $1 and contact_type = 'email'", party.key
        )
        by_email = {"tfa_info": party.tfa_info | {"contact_type": "email"}}
        await trial.refused("no contact", device.create(**by_email), 400, "OBD000913")
        await trial.accepted("registered", device.create(), 202)
        await trial.refused("other body", device.create(device_name="Outro"), 409, "OBD000902")
        second = Enrollment(world, party, AppKey(), session_id=device.session_id, nonce=device.nonce)
        await trial.refused("session used", second.create(), 409, "OBD000902")


async def test_tokens_of_registrations(world: World) -> None:
    party = await make_party(world.db, **LIVE)
    device, other = Enrollment(world, party, AppKey()), Enrollment(world, party, AppKey())
    for each in (device, other):
        assert (await each.requested()).status == 202
    with trial_of(world, at_least=25) as trial:
        before = await world.snapshot()
        await trial.refused("none", device.call("PUT", "/validate", {}), 400, "OBD000908")
        await trial.refused("empty", device.call("PUT", "/validate"), 400, "OBD000908")
        for token in (1, "12345", "1234567", "éééééé", "329-ad", ["UUUUUU"]):
            await trial.refused(token, device.call("PUT", "/validate", {"token": token}), *SCHEMA)
        await trial.refused("early", device.call("PATCH", "/resend_token"), 429, "OBD000903")
        await trial.unchanged(before)
        await trial.refused("wrong", device.validate("UUUUUU", idempotency_key="one"), 400, "OBD0000100")
        await trial.refused("other", device.validate("VVVVVV", idempotency_key="one"), 409, "OBD000902")
        for each, statement, code in (
            (device, "update channel_states set closed_until = now() + interval '1 hour'", "OBD000097"),
            (device, "update contacts set removed_at = now() where integrator_id = $1", "OBD000913"),
        ):
            await world.advance(each.device_key, 31)
            await world.execute(statement, *([party.key] if "$1" in statement else []))
            await trial.refused(code, each.call("PATCH", "/resend_token"), 400, code)
            await world.execute("update channel_states set closed_until = null")
        await world.execute("update contacts set removed_at = null where integrator_id = $1", party.key)
        for number in range(5):
            await world.advance(device.device_key, 31)
            await trial.accepted("resend", device.call("PATCH", "/resend_token", idempotency_key=f"r{number}"), 202)
        by_email = {"contact_type": "email"}
        call = device.call("PATCH", "/resend_token", by_email, idempotency_key="r1")
        await trial.refused("other body", call, 409, "OBD000902")
        await world.advance(device.device_key, 31)
        await trial.refused("sixth", device.call("PATCH", "/resend_token"), 429, "OBD000904")
        await world.advance(device.device_key, 270)
        await trial.refused("expired", device.validate(), 400, "OBD000920")
        for _ in range(4):
            await trial.refused("wrong", other.validate("UUUUUU"), 400, "OBD0000100")
        await trial.refused("fifth", other.validate("UUUUUU"), 400, "OBD000099")
        await trial.refused("after", other.call("PATCH", "/resend_token"), 400, "OBD000099")


@pytest.mark.parametrize(
    ("statement", "code"),
    [(BLOCK, (400, "OBD000088")), ("delete from account_approvers where integrator_id = $1", (403, "OBD000906"))],
)
async def test_what_changed_meanwhile_rejects_a_registration(
    world: World, statement: str, code: tuple[int, str]
) -> None:
    party = await make_party(world.db)
    device = Enrollment(world, party, AppKey())
    await device.requested()
    await world.execute(statement, party.key)
    reply = await device.validate()
    assert (reply.status, reply.code) == code
    assert reply.json["extra_fields"]["device_data"]["device_status"] == "rejected"
    after = await device.call("PATCH", "/resend_token")
    assert (after.status, after.code) == (400, "OBD000921")
    assert (await device.validate()).code == "OBD000921"


async def test_unknown_devices_and_accounts(world: World) -> None:
    party = await make_party(world.db)
    calls: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("PUT", "/validate", {"token": "UUUUUU"}),
        ("PATCH", "/resend_token", None),
        ("DELETE", "/disable", None),
    ]
    device = await registered(world, party, AppKey())
    with trial_of(world, at_least=11) as trial:
        for method, path, body in calls:
            unknown = Enrollment(world, party)
            await trial.refused((method, path), unknown.call(method, path, body), 404, "OBD000100")
            target = f"/account/{uuid4()}/device/{device.device_key}{path}"
            await trial.refused(target, world.call(method, target, body, key=party.api_key), 404, "OBD000002")
        lost = f"/account/{uuid4()}/device"
        await trial.refused("list", world.call("GET", f"{lost}s", key=party.api_key), 404, "OBD000002")
        body = device.body()
        await trial.refused("create", world.call("POST", lost, body, key=party.api_key), 404, "OBD000002")
        asked = {"session_id": str(uuid4()), "approver_document_number": party.document_number}
        call = world.call("POST", f"{lost}/challenge", asked, key=party.api_key)
        await trial.refused("challenge", call, 404, "OBD000002")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_device_operation(world: World, kind: str) -> None:
    """§4.1: unsigned it answers 905 to an empty body, QIT000001 to a token, 911 to a resend; nothing is used."""
    signing = await request_by_device(await registered(world, await make_party(world.db), AppKey()), kind)
    prefix, lost = PREFIX[kind], Signing(signing.enrollment, kind)
    before = await world.snapshot()
    with trial_of(world, at_least=9) as trial:
        for body in ({}, None, {"token": None}, {"token": ""}):
            call = signing.wire.call("PUT", f"{signing.wire.base}/{signing.key}/validate_token", body)
            await trial.refused(body, call, 409, f"{prefix}000905")
        for token in ("UUUUUU", "000000", "12345"):
            await trial.refused(token, signing.validate({"token": token}), *SCHEMA)
        await trial.refused("resend", signing.wire.resend(signing.key), 400, f"{prefix}000911")
        await trial.refused("unknown session", lost.call("GET"), 404, "OBD000925")
        await trial.unchanged(before)
