"""Approving and denying on a device, on the wire (transfers.md §5.2, §4.1 steps 8 and 9)."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import rfc8785

from tests.devices.authenticator import AppKey, Passkey, signed_body
from tests.devices.registering import Enrollment, passkey_party, registered
from tests.devices.signing import KINDS, Signing, request_by_device
from tests.factories import make_account, make_approver
from tests.transfers import settled
from tests.world import World

OWN_CODE = {"pix_transfer": "PXT", "pix_transfer_batch": "PXT", "ted": "TED", "ted_batch": "TED"}


@pytest.fixture
async def enrollment(world: World) -> Enrollment:
    return await registered(world, await passkey_party(world), AppKey())


@pytest.fixture
async def signing(enrollment: Enrollment) -> Signing:
    return await request_by_device(enrollment)


async def state_of(signing: Signing) -> tuple[str, str]:
    """Status of the operation and of its session, as they are stored."""
    (row,) = await signing.enrollment.world.fetch(
        "select c.status, s.status as session from challenges c join device_sessions s using (operation_id)"
        " where c.operation_id = $1",
        signing.key,
    )
    return row["status"], row["session"]


@pytest.mark.parametrize("device", [Passkey(), Passkey(counter=0), AppKey()], ids=["passkey", "synchronised", "app"])
@pytest.mark.parametrize("kind", KINDS)
async def test_what_the_device_signed_is_approved_with_an_empty_body(world: World, kind: str, device: Any) -> None:
    enrollment = await registered(world, await passkey_party(world), device)
    signing = Signing(enrollment, kind)
    created = await signing.create()
    approval = created.json["approval"]
    assert approval == {
        "method": "device",
        "masked_destination": None,
        "generation": 1,
        "attempts_remaining": None,
        "expires_at": approval["approval_deadline"],
        "can_resend_at": None,
        "approval_deadline": approval["approval_deadline"],
    }
    early = await signing.validate()
    assert (early.status, early.code) == (409, f"{OWN_CODE[kind]}000905")

    approved = await signing.sign()
    told = {"session_id": str(signing.session_id), "session_status": "approved"}
    assert (approved.status, approved.json) == (200, told)
    assert await state_of(signing) == ("pending_2fa_approval", "approved")
    again = await signing.sign(session=await signing.open() | {"nonce": "A" * 43})
    assert (again.status, again.code) == (400, "OBD000921")

    validated = await signing.validate()
    assert validated.status == (201 if kind.endswith("batch") else 202), validated.body
    assert (await signing.open())["session_status"] == "approved"
    repeated = await signing.validate()
    assert repeated.code in ("PXT000175", "PXT000180", "TED000086", "TED000102")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_session_shows_what_is_stored(enrollment: Enrollment, kind: str) -> None:
    signing = await request_by_device(enrollment, kind)
    session = await signing.open()
    names = ["session_id", "session_status", "nonce", "nonce_expires_at", "rp_id", "items", "details"]
    assert list(session) == names
    assert session["session_id"] == str(signing.session_id)
    assert (session["session_status"], session["rp_id"], len(session["nonce"])) == ("pending", "pay.example.com", 43)
    details, items = session["details"], session["items"]
    assert (details["operation"], details["operation_key"]) == (kind, str(signing.key))
    (digest,) = await enrollment.world.fetch(
        "select details_digest from operations where operation_id = $1", signing.key
    )
    assert hashlib.sha256(rfc8785.dumps(details)).digest() == digest["details_digest"]
    if kind.endswith("batch"):
        assert (details["payee_name"], details["target"]) == (None, None)
        assert details["item_count"] == len(items)
        assert details["items_digest"] == hashlib.sha256(rfc8785.dumps(items)).hexdigest()
    else:
        assert (items, details["item_count"], details["items_digest"]) == (None, 1, None)
        assert details["amount"] == "202.01"
        assert details["payee_document_masked"].startswith("***")


async def test_a_newer_look_voids_the_nonce(signing: Signing) -> None:
    first, second = await signing.open(), await signing.open()
    assert first["nonce"] != second["nonce"]
    assert (await signing.sign(session=first)).code == "OBD000926"
    assert (await signing.sign(session=second)).status == 200


async def test_a_nonce_ends_after_five_minutes(world: World, signing: Signing) -> None:
    session = await signing.open()
    reply = await world.call(
        "POST",
        f"/sandbox/operations/{signing.key}/advance",
        {"seconds": 300},
        key=signing.enrollment.party.api_key,
    )
    assert reply.status == 200
    assert (await signing.sign(session=session)).code == "OBD000926"
    assert (await signing.sign()).status == 200
    assert (await signing.validate()).status == 202  # the token's 5:00 are nothing to a device


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reason", ["not_me", "wrong_details", None])
async def test_a_denial_rejects_and_alarms(enrollment: Enrollment, kind: str, reason: str | None) -> None:
    signing = await request_by_device(enrollment, kind)
    denied = await signing.sign("deny", **({"reason": reason} if reason else {}))
    assert (denied.status, denied.json["session_status"]) == (200, "denied")
    read = await signing.wire.read(signing.key)
    status = f"{kind}_status"
    told = read.json.get("rejection_reason") or read.json["refusal_reason"]["enumerator"]
    assert (read.json[status], told) == ("rejected", "denied_by_approver")
    assert (await signing.open())["session_status"] == "denied"
    assert (await signing.validate()).code in ("PXT000175", "PXT000180", "TED000086", "TED000102")
    rows = await enrollment.world.fetch(
        "select sequence, event_type, body::jsonb -> 'data' as data from events where operation_id = $1 order by 1",
        signing.key,
    )
    assert [row["sequence"] for row in rows] == [1, 2]
    assert rows[1]["event_type"] == "aval.operation.denied"
    alert = rows[1]["data"]
    assert datetime.fromisoformat(alert.pop("denied_at"))
    assert alert == {
        "operation": kind,
        "operation_key": str(signing.key),
        "account_key": str(enrollment.party.account.key),
        "device_key": str(enrollment.device_key),
        "reason": reason or "other",
    }


async def test_the_order_of_refusals_of_a_signature(signing: Signing) -> None:
    session = await signing.open()
    good = signing.signed(session)
    bad = good | {"signature": "AAAA"}
    lost = Signing(signing.enrollment, session_id=uuid4())
    assert (await lost.call("POST", "/approve", bad | {"device_key": "x"})).code == "QIT000001"
    unknown = await lost.call("POST", "/approve", bad | {"nonce": "x"})
    assert (unknown.status, unknown.code) == (404, "OBD000925")
    assert (await signing.call("POST", "/approve", bad | {"nonce": "x"})).code == "OBD000926"
    refused = await signing.call("POST", "/approve", bad)
    assert (refused.status, refused.code) == (400, "OBD000924")
    assert (await signing.call("POST", "/approve", good)).status == 200
    assert (await signing.call("POST", "/approve", bad | {"nonce": "x"})).code == "OBD000921"
    assert (await lost.call("GET")).code == "OBD000925"
    assert (await lost.call("POST", "/deny", bad)).code == "OBD000925"
    assert (await signing.enrollment.world.call("GET", "/device_sessions/x", key=None)).code == "QIT000001"


async def test_a_failed_proof_leaves_everything_as_it_was(world: World) -> None:
    enrollment = await registered(world, await passkey_party(world), Passkey(counter=5))
    signing = await request_by_device(enrollment)
    session = await signing.open()
    before = await world.snapshot()
    body = signing.signed(session)
    for change in (
        {"signature": "AAAA"},
        {"client_data_json": "AAAA"},
        {"authenticator_data": "AAAA"},
        {"credential_id": "AAAA"},
        {"device_key": str(uuid4())},
    ):
        assert (await signing.call("POST", "/approve", body | change)).code == "OBD000924"
    assert await world.snapshot() == before
    assert (await signing.call("POST", "/approve", body)).status == 200


async def test_a_signature_is_for_one_decision(signing: Signing) -> None:
    session = await signing.open()
    denial = signing.signed(session, "deny")
    assert (await signing.call("POST", "/approve", denial)).code == "OBD000924"
    assert (await signing.call("POST", "/deny", signing.signed(session))).code == "OBD000924"


async def test_a_signature_is_for_one_operation(enrollment: Enrollment) -> None:
    first, second = await request_by_device(enrollment), await request_by_device(enrollment)
    body = first.signed(await first.open())
    session = await second.open()
    assert (await second.call("POST", "/approve", body)).code == "OBD000926"
    mixed = first.signed(await first.open() | {"nonce": session["nonce"]})
    assert (await second.call("POST", "/approve", mixed)).code == "OBD000924"


async def test_only_the_approvers_own_device_on_the_account_signs(world: World, signing: Signing) -> None:
    party, device = signing.enrollment.party, AppKey()
    other = await passkey_party(world)
    elsewhere = await registered(world, other, device)  # of another integrator
    pending = Enrollment(world, party, device)
    assert (await pending.requested()).status == 202
    session = await signing.open()
    for key in (elsewhere.device_key, pending.device_key, uuid4()):
        body = signed_body(device, key, session)
        assert (await signing.call("POST", "/approve", body)).code == "OBD000924"
    assert await state_of(signing) == ("pending_2fa_approval", "pending")


async def test_another_approvers_device_does_not_sign(world: World, signing: Signing) -> None:
    party = signing.enrollment.party
    theirs = await make_approver(world.db, party.key, document_number="52998224725", phone="+5511987651234")
    await world.execute(
        "insert into account_approvers select integrator_id, account_id, $2, powers, null, created_at, updated_at"
        " from account_approvers where account_id = $1",
        party.account.key,
        theirs.key,
    )
    device = Enrollment(world, party, AppKey())
    info = party.tfa_info | {"approver_document_number": "52998224725"}
    await device.challenge(approver_document_number="52998224725")
    assert (await device.create(tfa_info=info)).status == 202
    assert (await device.validate()).status == 201
    session = await signing.open()
    body = signed_body(device.device, device.device_key, session)
    assert (await signing.call("POST", "/approve", body)).code == "OBD000924"


async def test_a_device_of_another_account_does_not_serve(world: World, enrollment: Enrollment) -> None:
    party = enrollment.party
    account = await make_account(world.db, party.key)
    await world.execute(
        "insert into account_approvers select integrator_id, $2, approver_id, powers, null, created_at, updated_at"
        " from account_approvers where account_id = $1",
        party.account.key,
        account.key,
    )
    body = party.pix(tfa_info=Signing(enrollment).tfa_info)
    reply = await world.call("POST", f"/account/{account.key}/pix_transfer", body, key=party.api_key)
    assert reply.code == "PXT000912"


@pytest.mark.parametrize("kind", KINDS)
async def test_without_an_active_device_nothing_is_requested(world: World, kind: str) -> None:
    enrollment = Enrollment(world, await passkey_party(world))
    code = f"{OWN_CODE[kind]}000912"
    assert (await Signing(enrollment, kind).create()).code == code
    await enrollment.requested()
    assert (await Signing(enrollment, kind).create()).code == code
    await enrollment.validate()
    assert (await Signing(enrollment, kind).create()).status == 202
    await enrollment.call("DELETE", "/disable")
    reply = await Signing(enrollment, kind).create()
    assert (reply.status, reply.code) == (400, code)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_session_id_is_used_once_on_the_deployment(world: World, kind: str) -> None:
    enrollment = await registered(world, await passkey_party(world), AppKey())
    first = await request_by_device(enrollment, kind)
    code = f"{OWN_CODE[kind]}000912"
    assert (await Signing(enrollment, kind, session_id=first.session_id).create()).code == code
    assert (await Signing(enrollment, kind, session_id=enrollment.session_id).create()).code == code
    stranger = await registered(world, await passkey_party(world), AppKey())
    assert (await Signing(stranger, kind, session_id=first.session_id).create()).code == code
    challenge = await Enrollment(world, stranger.party, session_id=first.session_id).challenge()
    assert challenge.code == "OBD000902"


@pytest.mark.parametrize("kind", KINDS)
async def test_one_of_many_with_the_same_session_is_made(enrollment: Enrollment, kind: str) -> None:
    session_id = uuid4()
    replies = await asyncio.gather(*(Signing(enrollment, kind, session_id=session_id).create() for _ in range(6)))
    assert sorted(reply.status for reply in replies) == [202, 400, 400, 400, 400, 400]
    rows = await enrollment.world.fetch(
        "select operation_id from operations where account_id = $1 and kind = $2 and batch_id is null",
        enrollment.party.account.key,
        kind,
    )
    assert len(rows) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_repeated_request_is_the_same_operation(enrollment: Enrollment, kind: str) -> None:
    signing = Signing(enrollment, kind)
    body = signing.wire.body(tfa_info=signing.tfa_info)
    replies = await asyncio.gather(*(signing.wire.call("POST", signing.wire.base, body) for _ in range(4)))
    assert {reply.status for reply in replies} == {202}
    assert len({reply.json[f"{kind}_key"] for reply in replies}) == 1


@pytest.mark.parametrize(
    ("tfa_info", "field", "reason"),
    [
        ({"contact_type": "device"}, "tfa_info.session_id", "missing"),
        ({"contact_type": "device", "session_id": "x"}, "tfa_info.session_id", "invalid_value"),
        ({"contact_type": "sms", "session_id": str(uuid4())}, "tfa_info.session_id", "not_allowed"),
    ],
)
async def test_the_session_id_belongs_to_devices(
    enrollment: Enrollment, tfa_info: dict[str, str], field: str, reason: str
) -> None:
    info = {"approver_document_number": enrollment.party.document_number} | tfa_info
    reply = await Signing(enrollment).create(tfa_info=info)
    assert reply.code == "QIT000001"
    assert {"field": field, "reason": reason} in reply.json["extra_fields"]["errors"]


@pytest.mark.parametrize("kind", KINDS)
async def test_neither_factor_takes_the_place_of_the_other(enrollment: Enrollment, kind: str) -> None:
    by_device = await request_by_device(enrollment, kind)
    token = await enrollment.world.token(enrollment.party, by_device.key)
    for signed in (False, True):
        if signed:
            assert (await by_device.sign()).status == 200
        refused = await by_device.validate({"token": token})
        assert (refused.status, refused.code) == (400, "QIT000001")
    assert await state_of(by_device) == ("pending_2fa_approval", "approved")

    by_sms = await by_device.wire.new()
    required = await by_device.wire.validate(by_sms, {})
    assert required.code == {"PXT": "PXT000908", "TED": "TED000110"}[OWN_CODE[kind]]
    used = await enrollment.world.fetch("select attempts_used from challenges where operation_id = $1", by_sms)
    assert used[0]["attempts_used"] == 0
    resend = await by_device.wire.resend(by_device.key)
    assert resend.code == f"{OWN_CODE[kind]}000911"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_device_disabled_meanwhile_does_not_count(enrollment: Enrollment, kind: str) -> None:
    signing = await request_by_device(enrollment, kind)
    assert (await signing.sign()).status == 200
    assert (await enrollment.call("DELETE", "/disable")).status == 200
    reply = await signing.validate()
    assert (reply.status, reply.code) == (409, f"{OWN_CODE[kind]}000905")
    assert await state_of(signing) == ("pending_2fa_approval", "pending")
    assert (await signing.sign()).code == "OBD000924"
    spare = await registered(enrollment.world, enrollment.party, AppKey())
    session = await signing.open()
    body = signed_body(spare.device, spare.device_key, session)
    assert (await signing.call("POST", "/approve", body)).status == 200
    assert (await signing.validate()).status in (201, 202)


async def test_the_session_of_an_operation_that_ended_is_closed(world: World, enrollment: Enrollment) -> None:
    cancelled = await request_by_device(enrollment)
    session = await cancelled.open()
    assert (await cancelled.wire.cancel(cancelled.key)).status == 200
    closed = await cancelled.open()
    assert closed["session_status"] == "closed"
    assert "nonce" not in closed and "nonce_expires_at" not in closed
    assert (await cancelled.sign(session=session)).code == "OBD000921"

    late = await request_by_device(enrollment)
    session = await late.open()
    await world.advance(late.key, 3_600)
    assert (await late.open())["session_status"] == "closed"
    assert (await late.sign(session=session)).code == "OBD000921"
    assert (await late.validate()).code == "PXT000175"


async def test_an_approval_ends_with_the_window(world: World, signing: Signing) -> None:
    assert (await signing.sign()).status == 200
    await world.advance(signing.key, 3_600)
    assert (await signing.validate()).code == "PXT000175"
    assert (await signing.open())["session_status"] == "approved"


async def test_approval_checks_hold_for_devices_too(world: World, signing: Signing) -> None:
    assert (await signing.sign()).status == 200
    await world.execute(
        "update account_approvers set powers = '{ted}' where account_id = $1", signing.enrollment.party.account.key
    )
    reply = await signing.validate()
    assert (reply.status, reply.code) == (403, "PXT000906")
    assert reply.json["extra_fields"]["pix_transfer_data"]["pix_transfer_status"] == "rejected"


async def test_a_device_approval_is_settled_within_the_call(world: World) -> None:
    party = await passkey_party(world, settlement_mode="sync")
    signing = await request_by_device(await registered(world, party))
    assert (await signing.sign()).status == 200
    reply = await settled(world, signing.validate(idempotency_key="sync"))
    assert (reply.status, reply.json["pix_transfer_status"]) == (201, "sent")


async def test_a_call_that_met_905_may_be_repeated_under_its_key(signing: Signing) -> None:
    assert (await signing.validate(idempotency_key="k")).code == "PXT000905"
    assert (await signing.sign()).status == 200
    assert (await signing.validate(idempotency_key="k")).status == 202
    again = await signing.validate(idempotency_key="k")
    assert (again.status, again.headers["idempotent-replayed"]) == (202, "true")


async def young(world: World) -> Enrollment:
    """A device in its first 24 hours."""
    party = await passkey_party(world, device_cooldown_hours=24)
    return await registered(world, party, AppKey())


async def test_a_young_device_approves_little(world: World) -> None:
    enrollment = await young(world)
    assert (await Signing(enrollment).create(transaction_amount=200.01)).code == "PXT000912"
    signing = await request_by_device(enrollment, transaction_amount=200)
    assert (await signing.sign()).status == 200
    assert (await signing.validate()).status == 202
    await age(enrollment)
    assert (await Signing(enrollment).create(transaction_amount=200.01)).status == 202


async def age(enrollment: Enrollment, hours: int = 24) -> None:
    """Let a device grow older."""
    await enrollment.world.execute(
        "update challenges set consumed_at = consumed_at - $2::interval where operation_id = $1",
        enrollment.device_key,
        timedelta(hours=hours),
    )


async def test_a_young_device_approves_little_a_day(world: World) -> None:
    enrollment = await young(world)
    waiting = [await request_by_device(enrollment, transaction_amount=200) for _ in range(6)]
    assert [(await signing.sign()).status for signing in waiting] == [200] * 6
    replies = await asyncio.gather(*(signing.validate() for signing in waiting))
    assert sorted(reply.status for reply in replies) == [202] * 5 + [409]
    (left,) = [signing for signing, reply in zip(waiting, replies, strict=True) if reply.status == 409]
    assert await state_of(left) == ("pending_2fa_approval", "pending")
    assert (await left.sign()).code == "OBD000924"
    assert (await Signing(enrollment).create(transaction_amount=0.01)).code == "PXT000912"
    await age(enrollment)
    assert (await left.sign()).status == 200
    assert (await left.validate()).status == 202


async def test_a_batch_counts_with_its_total(world: World) -> None:
    enrollment = await young(world)
    signing = Signing(enrollment, "pix_transfer_batch")
    items = [enrollment.party.pix(transaction_amount=amount) for amount in (100, 100.01)]
    for item in items:
        del item["tfa_info"]
    assert (await signing.create(pix_transfers=items)).code == "PXT000912"
    items[1]["transaction_amount"] = 100
    assert (await signing.create(pix_transfers=items)).status == 202
    assert (await signing.sign()).status == 200
    assert (await signing.validate()).status == 201
    more = [await request_by_device(enrollment, transaction_amount=200) for _ in range(4)]
    for one in more:
        assert (await one.sign()).status == 200
        assert (await one.validate()).status == 202
    assert (await Signing(enrollment).create(transaction_amount=0.01)).code == "PXT000912"


async def test_ten_requests_a_minute_where_budgets_hold(world: World) -> None:
    signing = await request_by_device(await registered(world, await passkey_party(world, budgets=True), AppKey()))
    for _ in range(10):
        await signing.open()
    reply = await signing.call("GET")
    assert (reply.status, reply.code) == (429, "QIT000943")
    assert reply.json["extra_fields"] == {"reason": "requests_per_minute"}
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert (await signing.sign(session={"nonce": "A" * 43, "details": {}})).code == "QIT000943"


async def test_an_inactive_integrators_session_is_unknown(world: World, signing: Signing) -> None:
    await world.execute("update integrators set active = false where integrator_id = $1", signing.enrollment.party.key)
    assert (await signing.call("GET")).code == "OBD000925"


Step = Callable[[], Awaitable[Any]]


async def test_approve_and_deny_at_once_are_one_decision(enrollment: Enrollment) -> None:
    for _ in range(4):
        signing = await request_by_device(enrollment)
        session = await signing.open()
        bodies = [("approve", signing.signed(session)), ("deny", signing.signed(session, "deny"))] * 2
        replies = await asyncio.gather(*(signing.call("POST", f"/{path}", body) for path, body in bodies))
        assert sorted(reply.status for reply in replies) == [200, 400, 400, 400]
        assert {reply.code for reply in replies if reply.status == 400} == {"OBD000921"}
        rows = await enrollment.world.fetch(
            "select decision from device_decisions where operation_id = $1", signing.key
        )
        assert len(rows) == 1
        assert (await state_of(signing))[0] == {"approve": "pending_2fa_approval", "deny": "rejected"}[rows[0][0]]


async def test_validate_and_disable_at_once_end_in_one_order(world: World, enrollment: Enrollment) -> None:
    for _ in range(4):
        spare = await registered(world, enrollment.party, AppKey())
        signing = await request_by_device(spare)
        assert (await signing.sign()).status == 200
        validated, disabled = await asyncio.gather(signing.validate(), spare.call("DELETE", "/disable"))
        assert disabled.status == 200
        (row,) = await world.fetch(
            "select c.status, c.consumed_at, d.disabled_at from challenges c, devices d"
            " where c.operation_id = $1 and d.device_id = $2",
            signing.key,
            spare.device_key,
        )
        if validated.status == 202:
            assert row["consumed_at"] < row["disabled_at"]
        else:
            assert (validated.code, row["status"]) == ("PXT000905", "pending_2fa_approval")


async def test_approve_and_disable_at_once_end_in_one_order(world: World, enrollment: Enrollment) -> None:
    for _ in range(4):
        spare = await registered(world, enrollment.party, AppKey())
        signing = await request_by_device(spare)
        approved, disabled = await asyncio.gather(signing.sign(), spare.call("DELETE", "/disable"))
        assert disabled.status == 200
        assert (approved.status, approved.code) in ((200, None), (400, "OBD000924"))
        assert (await signing.validate()).code == "PXT000905"


async def test_deny_and_validate_at_once_end_in_one_order(enrollment: Enrollment) -> None:
    for _ in range(4):
        signing = await request_by_device(enrollment)
        session = await signing.open()
        denied, validated = await asyncio.gather(signing.sign("deny", session), signing.validate())
        assert denied.status == 200
        assert validated.code in ("PXT000905", "PXT000175")
        assert (await state_of(signing)) == ("rejected", "denied")


async def test_every_signature_that_counts_is_kept(world: World, signing: Signing) -> None:
    session = await signing.open()
    body = signing.signed(session)
    await signing.call("POST", "/approve", body)
    (row,) = await world.fetch("select * from device_decisions where operation_id = $1", signing.key)
    assert (row["nonce"], row["decision"], row["reason"]) == (session["nonce"], "approve", None)
    assert row["proof"] == {"type": "p256", "signature": body["signature"]}
    (audit,) = await world.fetch(
        "select actor, details from audit where operation_id = $1 and action = 'operation.signed'", signing.key
    )
    assert audit["actor"] == f"device:{signing.enrollment.device_key}"
    assert audit["details"]["challenge"] == row["challenge"].hex()


async def test_only_a_few_wait_for_one_operation_where_budgets_hold(world: World) -> None:
    signing = await request_by_device(await registered(world, await passkey_party(world, budgets=True), AppKey()))
    body = signing.signed(await signing.open())
    async with world.db.transaction() as connection:
        await connection.fetch("select 1 from challenges where operation_id = $1 for update", signing.key)
        calls = [asyncio.create_task(signing.call("POST", "/approve", body)) for _ in range(6)]
        done, waiting = await asyncio.wait(calls, timeout=0.5)
    assert [(call.result().code, call.result().json["extra_fields"]) for call in done] == [
        ("QIT000943", {"reason": "busy"})
    ] * 2
    replies = await asyncio.gather(*waiting)
    assert sorted(reply.status for reply in replies) == [200, 400, 400, 400]
