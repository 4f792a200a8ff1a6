"""Registering devices on the wire (transfers.md §5.1)."""

import asyncio
from base64 import urlsafe_b64encode
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from aval.domain.device_proof import base64url
from tests.devices.authenticator import AppKey, Device, Passkey
from tests.devices.registering import Enrollment, passkey_party, registered
from tests.factories import Party, make_approver, make_party
from tests.transfers import approval_of
from tests.world import World


@pytest.fixture
async def party(world: World) -> Party:
    return await passkey_party(world)


@pytest.fixture
def enrollment(world: World, party: Party) -> Enrollment:
    return Enrollment(world, party)


async def events_of(world: World, enrollment: Enrollment) -> list[tuple[int, str, str]]:
    rows = await world.fetch(
        "select sequence, event_type, body::jsonb -> 'data' as data from events where operation_id = $1 order by 1",
        enrollment.device_key,
    )
    return [(row["sequence"], row["event_type"], row["data"]["device_status"]) for row in rows]


@pytest.mark.parametrize("device", [Passkey(), AppKey()], ids=["passkey", "app key"])
async def test_a_device_is_registered_with_a_token(world: World, party: Party, device: Device) -> None:
    enrollment = Enrollment(world, party, device)
    challenge = await enrollment.challenge()
    assert challenge.status == 201
    assert list(challenge.json) == ["session_id", "challenge", "rp_id", "expires_at"]
    assert (challenge.json["session_id"], challenge.json["rp_id"]) == (str(enrollment.session_id), "pay.example.com")
    assert len(enrollment.nonce) == 32

    made = await enrollment.create()
    created_at = made.json["created_at"]
    assert (made.status, made.json) == (
        202,
        {
            "device_key": str(enrollment.device_key),
            "device_status": "pending_2fa_approval",
            "created_at": created_at,
            "approval": approval_of(party, created_at),
        },
    )
    validated = await enrollment.validate()
    in_brief = {"device_key": str(enrollment.device_key), "device_status": "created", "created_at": created_at}
    assert (validated.status, validated.json) == (201, in_brief)

    read = await enrollment.call("GET")
    mask = f"***{party.document_number[3:9]}**"
    assert read.json == in_brief | {
        "device_status": "active",
        "device_name": "Celular da Ana",
        "approver_document_number": mask,
        "updated_at": read.json["updated_at"],
    }
    listed = await world.call("GET", f"{enrollment.base}s?page_size=1", key=party.api_key)
    assert listed.json == {
        "data": [read.json],
        "pagination": {"current_page": 1, "next_page": None, "rows_per_page": 1},
    }
    assert await events_of(world, enrollment) == [(1, "aval.device.status_change", "active")]


async def test_the_token_message_names_the_device_and_the_other_contact_is_told(
    world: World, enrollment: Enrollment
) -> None:
    await enrollment.registered()
    rows = await world.fetch(
        "select topic, channel, payload from outbox where approver_id = $1 order by created_at",
        enrollment.party.approver.key,
    )
    notice = {"notice": "device_registered", "device_name": "Celular da Ana"}
    assert [tuple(row) for row in rows] == [("token", "sms", {}), ("notice", "email", notice)]
    inbox = await world.call(
        "GET", f"/sandbox/inbox?operation_key={enrollment.device_key}", key=enrollment.party.api_key
    )
    (message,) = inbox.json["data"]
    assert message["operation"] == "device"
    assert message["text"].startswith("Cadastro do dispositivo Celular da Ana, conta ***")


async def test_a_repeat_answers_what_became_of_the_device(enrollment: Enrollment) -> None:
    await enrollment.requested()
    body = enrollment.body()
    again = await enrollment.create(**body)
    assert (again.status, again.headers["idempotent-replayed"]) == (202, "true")
    await enrollment.validate()
    again = await enrollment.create(**body)
    assert (again.status, again.json["device_status"]) == (202, "active")
    await enrollment.call("DELETE", "/disable")
    again = await enrollment.create(**body)
    assert (again.status, again.json["device_status"]) == (202, "disabled")
    assert (await enrollment.create(device_name="Outro")).code == "OBD000902"


async def test_a_key_in_use_is_a_conflict(world: World, enrollment: Enrollment) -> None:
    key = await world.request(enrollment.party)
    other = Enrollment(world, enrollment.party, device_key=key)
    assert (await other.requested()).code == "OBD000902"


async def test_a_session_serves_once(world: World, enrollment: Enrollment) -> None:
    await enrollment.requested()
    assert (await enrollment.challenge()).code == "OBD000902"
    second = Enrollment(world, enrollment.party, session_id=enrollment.session_id, nonce=enrollment.nonce)
    assert (await second.create()).code == "OBD000902"
    other = await passkey_party(world)
    assert (await Enrollment(world, other, session_id=enrollment.session_id).challenge()).code == "OBD000902"


def credential_of(enrollment: Enrollment, **change: Any) -> dict[str, Any]:
    made = enrollment.device.make_credential(enrollment.nonce, enrollment.device_key)
    return {name: value for name, value in (made | change).items() if value is not None}


async def test_what_is_refused_stores_nothing(world: World, enrollment: Enrollment) -> None:
    party = enrollment.party
    other = await make_approver(world.db, party.key, document_number="52998224725", phone="+5511987651234")
    assert other
    await enrollment.challenge()
    bad_proof = credential_of(enrollment, client_data_json=base64url(b"{}"))
    broken = credential_of(enrollment, attestation_object=base64url(b"\x81" * 5000))
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"tfa_info": None}, 400, "OBD000909"),
        ({"tfa_info": party.tfa_info | {"approver_document_number": "52998224725"}}, 403, "OBD000906"),
        ({"tfa_info": party.tfa_info | {"approver_document_number": "11144477735"}}, 403, "OBD000906"),
        ({"session_id": str(uuid4())}, 400, "OBD000926"),
        ({"credential": bad_proof}, 400, "OBD000924"),
        ({"credential": broken}, 400, "OBD000924"),
        ({"credential": AppKey().make_credential(bytes(32), enrollment.device_key)}, 400, "OBD000924"),
        ({"credential": AppKey().make_credential(enrollment.nonce, uuid4())}, 400, "OBD000924"),
    ]
    before = await world.snapshot()
    for change, status, code in cases:
        reply = await enrollment.create(**change)
        assert (reply.status, reply.code) == (status, code), change
    assert await world.snapshot() == before
    assert (await enrollment.create()).status == 202


SCHEMA_FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"device_key": "x"}, "device_key", "invalid_value"),
    ({"device_key": None}, "device_key", "missing"),
    ({"session_id": "x"}, "session_id", "invalid_value"),
    ({"device_name": " "}, "device_name", "invalid_value"),
    ({"device_name": "x" * 41}, "device_name", "invalid_value"),
    ({"device_name": "a\u202eb"}, "device_name", "invalid_value"),
    ({"credential": None}, "credential", "missing"),
    ({"credential": {"type": "rsa"}}, "credential.type", "invalid_value"),
    ({"credential": {"type": "webauthn"}}, "credential.credential_id", "missing"),
    ({"credential": {"type": "p256", "public_key": "AA"}}, "credential.signature", "missing"),
    (
        {"credential": {"type": "p256", "public_key": "+/8", "signature": "AA"}},
        "credential.public_key",
        "invalid_value",
    ),
    ({"credential": {"type": "p256", "public_key": "A", "signature": "AA"}}, "credential.public_key", "invalid_value"),
    (
        {"credential": {"type": "p256", "public_key": "AA", "signature": "AA", "credential_id": "AA"}},
        "credential.credential_id",
        "not_allowed",
    ),
    (
        {"tfa_info": {"approver_document_number": "1", "contact_type": "sms"}},
        "tfa_info.approver_document_number",
        "invalid_value",
    ),
    (
        {"tfa_info": {"approver_document_number": "11144477735", "contact_type": "device"}},
        "tfa_info.contact_type",
        "invalid_value",
    ),
]


@pytest.mark.parametrize(("change", "field", "reason"), SCHEMA_FAULTS)
async def test_a_malformed_body_is_told_by_its_field(
    enrollment: Enrollment, change: dict[str, Any], field: str, reason: str
) -> None:
    reply = await enrollment.create(**change)
    assert (reply.status, reply.code) == (400, "QIT000001")
    assert {"field": field, "reason": reason} in reply.json["extra_fields"]["errors"]


@pytest.mark.parametrize("change", [{"session_id": "x"}, {"approver_document_number": "11111111111"}, {"rp_id": "x"}])
async def test_a_malformed_challenge_is_a_schema_error(enrollment: Enrollment, change: dict[str, str]) -> None:
    assert (await enrollment.challenge(**change)).code == "QIT000001"


async def test_padded_base64url_is_read_as_well(world: World, party: Party) -> None:
    enrollment = Enrollment(world, party, AppKey())
    await enrollment.challenge()
    made = credential_of(enrollment)
    padded = {name: text + "=" * (-len(text) % 4) for name, text in made.items() if name != "type"}
    assert any(text.endswith("=") for text in padded.values())
    assert urlsafe_b64encode(b"\0") == b"AA=="
    assert (await enrollment.create(credential={"type": "p256", **padded})).status == 202


async def test_a_challenge_ends_after_five_minutes(world: World, enrollment: Enrollment) -> None:
    await enrollment.challenge()
    await world.execute("alter table device_challenges disable trigger device_challenges_are_fixed")
    await world.execute(
        "update device_challenges set created_at = created_at - $2::interval, expires_at = expires_at - $2::interval"
        " where session_id = $1",
        enrollment.session_id,
        timedelta(minutes=5),
    )
    await world.execute("alter table device_challenges enable trigger device_challenges_are_fixed")
    assert (await enrollment.create()).code == "OBD000926"


async def test_an_integrator_without_rp_id_registers_app_keys_only(world: World) -> None:
    party = await make_party(world.db)
    passkey = Enrollment(world, party)
    assert (await passkey.challenge()).json["rp_id"] is None
    assert (await passkey.create()).code == "OBD000924"
    assert (await registered(world, party, AppKey())).nonce


async def test_account_and_approver_are_checked_at_the_challenge(world: World, party: Party) -> None:
    enrollment = Enrollment(world, party)
    stranger = await enrollment.challenge(approver_document_number="11144477735")
    assert (stranger.status, stranger.code) == (403, "OBD000906")
    await world.execute("update accounts set status = 'blocked' where account_id = $1", party.account.key)
    assert (await enrollment.challenge()).code == "OBD000088"
    unknown = await world.call(
        "POST",
        f"/account/{uuid4()}/device/challenge",
        {"session_id": str(uuid4()), "approver_document_number": party.document_number},
        key=party.api_key,
    )
    assert (unknown.status, unknown.code) == (404, "OBD000002")


async def test_a_blocked_account_takes_no_device(world: World, enrollment: Enrollment) -> None:
    await enrollment.challenge()
    await world.execute("update accounts set status = 'blocked' where account_id = $1", enrollment.party.account.key)
    assert (await enrollment.create()).code == "OBD000088"


async def test_a_contact_is_needed(world: World, enrollment: Enrollment) -> None:
    await enrollment.challenge()
    await world.execute(
        "update contacts set removed_at = now() where approver_id = $1 and contact_type = 'email'",
        enrollment.party.approver.key,
    )
    by_email = enrollment.party.tfa_info | {"contact_type": "email"}
    assert (await enrollment.create(tfa_info=by_email)).code == "OBD000913"


async def test_wrong_tokens_are_counted_then_reject(world: World, enrollment: Enrollment) -> None:
    await enrollment.requested()
    assert (await enrollment.call("PUT", "/validate", {})).code == "OBD000908"
    for _ in range(4):
        wrong = await enrollment.validate("UUUUUU")
        assert (wrong.status, wrong.code) == (400, "OBD0000100")
    exhausted = await enrollment.validate("UUUUUU")
    assert (exhausted.status, exhausted.code) == (400, "OBD000099")
    data = exhausted.json["extra_fields"]["device_data"]
    assert list(data) == ["device_key", "device_status", "created_at"]
    assert data["device_status"] == "rejected"
    assert (await enrollment.validate()).code == "OBD000099"
    assert (await enrollment.call("PATCH", "/resend_token", {})).code == "OBD000099"
    assert (await enrollment.call("GET")).json["device_status"] == "rejected"
    assert (await enrollment.call("DELETE", "/disable")).json["device_status"] == "rejected"
    assert await events_of(world, enrollment) == [(1, "aval.device.status_change", "rejected")]


async def test_a_token_is_resent_and_expires(world: World, enrollment: Enrollment) -> None:
    await enrollment.requested()
    early = await enrollment.call("PATCH", "/resend_token")
    assert (early.status, early.code) == (429, "OBD000903")
    first = await world.token(enrollment.party, enrollment.device_key)
    await world.advance(enrollment.device_key, 300)
    assert (await enrollment.validate()).code == "OBD000920"
    resent = await enrollment.call("PATCH", "/resend_token", {"contact_type": "email"})
    assert (resent.status, resent.json["approval"]["generation"]) == (202, 2)
    assert (resent.json["device_status"], resent.json["approval"]["method"]) == ("pending_2fa_approval", "email")
    superseded = await enrollment.validate(first)
    assert superseded.json["extra_fields"] == {"reason": "superseded_token"}
    assert (await enrollment.validate()).status == 201
    again = await enrollment.validate()
    assert (again.status, again.code) == (400, "OBD000921")


async def test_the_window_ends_a_registration(world: World, enrollment: Enrollment) -> None:
    await enrollment.requested()
    await world.advance(enrollment.device_key, 3_600)
    assert (await enrollment.call("GET")).json["device_status"] == "rejected"
    assert (await enrollment.validate()).code == "OBD000921"
    assert await events_of(world, enrollment) == [(1, "aval.device.status_change", "rejected")]


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("delete from account_approvers where account_id = $1", "OBD000906"),
        ("update accounts set status = 'blocked' where account_id = $1", "OBD000088"),
    ],
)
async def test_what_changed_meanwhile_rejects(world: World, enrollment: Enrollment, statement: str, code: str) -> None:
    await enrollment.requested()
    await world.execute(statement, enrollment.party.account.key)
    reply = await enrollment.validate()
    assert (reply.code, reply.json["extra_fields"]["device_data"]["device_status"]) == (code, "rejected")


async def test_a_device_is_disabled_once_and_for_all(world: World, enrollment: Enrollment) -> None:
    await enrollment.registered()
    first = await enrollment.call("DELETE", "/disable")
    assert (first.status, first.json["device_status"]) == (200, "disabled")
    assert list(first.json) == ["device_key", "device_status", "created_at"]
    again = await enrollment.call("DELETE", "/disable")
    assert (again.status, again.body) == (200, first.body)
    assert (await enrollment.call("GET")).json["device_status"] == "disabled"
    told = [(1, "aval.device.status_change", "active"), (2, "aval.device.status_change", "disabled")]
    assert await events_of(world, enrollment) == told


async def test_a_device_that_waits_for_its_token_can_be_disabled(world: World, enrollment: Enrollment) -> None:
    await enrollment.requested()
    assert (await enrollment.call("DELETE", "/disable")).json["device_status"] == "disabled"
    assert (await enrollment.validate()).code == "OBD000921"
    assert await events_of(world, enrollment) == [(1, "aval.device.status_change", "disabled")]


async def test_validate_and_disable_end_in_one_order(world: World, party: Party) -> None:
    for _ in range(4):
        enrollment = Enrollment(world, party)
        assert (await enrollment.requested()).status == 202
        token = await world.token(party, enrollment.device_key)
        validated, disabled = await asyncio.gather(enrollment.validate(token), enrollment.call("DELETE", "/disable"))
        assert (validated.status, validated.code) in ((201, None), (400, "OBD000921"))
        assert disabled.json["device_status"] == "disabled"
        assert (await enrollment.call("GET")).json["device_status"] == "disabled"
        expected = ["active", "disabled"] if validated.status == 201 else ["disabled"]
        assert [status for _, _, status in await events_of(world, enrollment)] == expected


async def test_the_same_registration_at_once_is_made_once(world: World, party: Party) -> None:
    enrollment = Enrollment(world, party, AppKey())
    await enrollment.challenge()
    body = enrollment.body()
    replies = await asyncio.gather(*(enrollment.create(**body) for _ in range(6)))
    assert {reply.status for reply in replies} == {202}
    assert sum("idempotent-replayed" not in reply.headers for reply in replies) == 1


async def test_one_session_registers_one_of_two_devices_at_once(world: World, party: Party) -> None:
    first = Enrollment(world, party, AppKey())
    await first.challenge()
    second = Enrollment(world, party, AppKey(), session_id=first.session_id, nonce=first.nonce)
    replies = await asyncio.gather(first.create(), second.create())
    assert sorted(reply.status for reply in replies) == [202, 409]


async def test_a_validate_is_repeated_under_its_key(enrollment: Enrollment, world: World) -> None:
    await enrollment.requested()
    token = await world.token(enrollment.party, enrollment.device_key)
    first = await enrollment.validate(token, idempotency_key="once")
    again = await enrollment.validate(token, idempotency_key="once")
    assert (again.status, again.body, again.headers["idempotent-replayed"]) == (201, first.body, "true")
    assert (await enrollment.validate("UUUUUU", idempotency_key="once")).code == "OBD000902"


async def test_another_integrators_device_is_unknown(world: World, enrollment: Enrollment) -> None:
    await enrollment.registered()
    other = await passkey_party(world)
    stranger = Enrollment(world, other, device_key=enrollment.device_key)
    unknown = Enrollment(world, other)
    for method, path, body in [
        ("GET", "", None),
        ("PUT", "/validate", {"token": "AAAAAA"}),
        ("PATCH", "/resend_token", None),
        ("DELETE", "/disable", None),
    ]:
        seen = await stranger.call(method, path, body)
        assert (seen.status, seen.code) == (404, "OBD000100")
        assert seen.body == (await unknown.call(method, path, body)).body
    assert (await enrollment.call("GET")).json["device_status"] == "active"


async def test_an_approver_is_not_bombed_with_registrations(world: World) -> None:
    party = await passkey_party(world, budgets=True)
    replies = []
    for _ in range(7):
        replies.append(await Enrollment(world, party, AppKey()).requested())
    assert (replies[-1].status, replies[-1].code) == (429, "QIT000943")
    assert replies[-1].headers["retry-after"].isdigit()


async def test_an_overdue_registration_is_rejected_rather_than_disabled(world: World, enrollment: Enrollment) -> None:
    await enrollment.requested()
    await world.advance(enrollment.device_key, 3_600)
    assert (await enrollment.call("DELETE", "/disable")).json["device_status"] == "rejected"
    assert await events_of(world, enrollment) == [(1, "aval.device.status_change", "rejected")]


async def test_devices_of_an_unknown_account_are_unknown(world: World, enrollment: Enrollment) -> None:
    await enrollment.registered()
    base = f"/account/{uuid4()}/device"
    for method, path in (
        ("GET", f"/{enrollment.device_key}"),
        ("DELETE", f"/{enrollment.device_key}/disable"),
        ("GET", "s"),
    ):
        reply = await world.call(method, base + path, key=enrollment.party.api_key)
        assert (reply.status, reply.code) == (404, "OBD000002")
