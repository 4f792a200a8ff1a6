"""Who may do what to a security device, what nobody is shown, and what is no number (redemptions.md §3.1, §7.4)."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from aval.operations.fresh import new_phone
from aval.storage.phones import find_phone
from tests.factories import Reply
from tests.phones import Owner, key_of
from tests.redemption_stage import RedemptionStage

SCOPES_WITHOUT = ("participants.read", "impersonate", "redemptions.write")


@pytest.fixture
async def owner(redemptions: RedemptionStage) -> Owner:
    return await Owner.make(redemptions)


def calls_on(device: Any) -> list[tuple[str, str, Any]]:
    """Every call of a participant on a device."""
    return [
        ("PUT", f"/{device}/validate_token", {"token": "7K3M9Q"}),
        ("PUT", f"/{device}/resend_token", {}),
        ("DELETE", f"/{device}", None),
    ]


@pytest.mark.parametrize(
    "number",
    [
        "5511987654321",
        "+55 11 98765-4321",
        "+55 11 987654321",
        "+5511987654321;ext=2",
        "+55011987654321",
        "+551133334444",
        "+551187654321",
        "+5520987654321",
        "190",
        "+5508001234567",
        "+881612345678",
        "+14155552671",
        "+55１１９８７６５４３２１",
        "+5511987654321;phone-context=+55",
        "tel:+5511987654321",
        "",
    ],
)
async def test_what_is_no_brazilian_mobile_number_is_refused_and_sent_nothing(owner: Owner, number: str) -> None:
    reply = await owner.register(number)
    assert (reply.status, reply.code, reply.json["extra_fields"]) == (422, "11", {"reason": "phone_incorrect"})
    assert await owner.stage.value("select count(*) from outbox where integrator_id = $1", owner.campaign.key) == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "phone"},
        {"type": "email", "number": "+5511987654321"},
        {"type": "phone", "number": 5511987654321},
        {"type": "phone", "number": None},
        {"type": "phone", "number": "+5511987654321", "contact_type": "sms"},
    ],
)
async def test_a_body_that_is_none_is_refused(owner: Owner, body: Any) -> None:
    assert (await owner.ask("POST", "", body)).code == "QIT000001"


async def test_a_token_that_is_none_uses_no_attempt(owner: Owner) -> None:
    made = await owner.register()
    path = f"/{made.json['id']}/validate_token"
    for body, code in (
        (None, "RDM000110"),
        ({}, "RDM000110"),
        ({"token": None}, "RDM000110"),
        ({"token": ""}, "RDM000110"),
        ({"token": "12345"}, "QIT000001"),
        ({"token": "1234567"}, "QIT000001"),
        ({"token": "12345é"}, "QIT000001"),
        ({"token": 123456}, "QIT000001"),
        ({"token": "123456", "x": 1}, "QIT000001"),
    ):
        assert (await owner.ask("PUT", path, body)).code == code, body
    assert (await owner.ask("PUT", f"/{made.json['id']}/resend_token", {"contact_type": "email"})).code == "QIT000001"
    attempts = await owner.stage.value("select attempts_used from challenges where operation_id = $1", key_of(made))
    assert attempts == 0
    token = (await owner.token(made)).lower()
    assert (await owner.validate(made, f"  {token} ")).status == 201


async def test_devices_of_others_are_unknown_ones(redemptions: RedemptionStage, owner: Owner) -> None:
    other_of_campaign = await Owner.make(redemptions, owner.campaign, owner.application)
    other_campaign = await Owner.make(redemptions)
    foreign = [await other.register() for other in (other_of_campaign, other_campaign)]
    answers: set[tuple[int, bytes]] = set()
    for device in (*(made.json["id"] for made in foreign), str(uuid4()), "x"):
        for method, path, body in calls_on(device):
            reply = await owner.ask(method, path, body)
            answers.add((reply.status, reply.body))
    assert len(answers) == 1
    (status, body) = answers.pop()
    assert (status, json.loads(body)["code"], json.loads(body)["extra_fields"]["resource"]) == (
        404,
        "RDM000910",
        "device",
    )
    path = f"/participants/{other_of_campaign.person.key}/devices"
    for method in ("GET", "POST"):
        reply = await redemptions.call(
            method, path, {"type": "phone", "number": new_phone()} if method == "POST" else None, headers=owner.headers
        )
        assert (reply.status, reply.code) == (404, "113")
    assert await other_of_campaign.status(foreign[0]) == ("pending_verification", None)


async def test_an_impersonator_registers_the_first_device_alone(redemptions: RedemptionStage, owner: Owner) -> None:
    headers = redemptions.as_impersonator(owner.application, owner.campaign, owner.person)

    async def act(method: str, path: str, body: Any = None) -> Reply:
        return await redemptions.call(method, f"/participants/me/devices{path}", body, headers=headers)

    body = {"type": "phone", "number": new_phone()}
    made = await act("POST", "", body)
    assert made.status == 202
    assert (await act("DELETE", f"/{made.json['id']}")).code == "RDM000917"
    token = await owner.token(made)
    assert (await act("PUT", f"/{made.json['id']}/validate_token", {"token": token})).status == 201
    impersonator = await redemptions.value(
        "select details ->> 'impersonator' from audit where action = 'device.registered' and details ->> 'key' = $1",
        made.json["id"],
    )
    assert impersonator == "atendente-22"
    second = await owner.register()
    for reply in (
        await act("POST", "", body),
        *[await act(*call) for call in calls_on(second.json["id"])],
    ):
        assert (reply.status, reply.code) == (403, "RDM000917")
    assert (await owner.operate(made, "reset")).status == 200
    assert (await act("POST", "", body)).code == "RDM000917"  # one was active once
    assert (await act("GET", "")).json["total"] == 2


async def test_without_the_scope_devices_are_neither_registered_nor_shown(redemptions: RedemptionStage) -> None:
    campaign = await redemptions.campaign()
    application = await redemptions.application(campaign, scopes=SCOPES_WITHOUT)
    owner = await Owner.make(redemptions, campaign, application)
    refused = await owner.register()
    assert (refused.status, refused.code) == (403, "RDM000918")
    assert refused.json["extra_fields"]["scope"] == "onboarding.write"
    headers = redemptions.as_impersonator(application, campaign, owner.person)
    path, body = "/participants/me/devices", {"type": "phone", "number": new_phone()}
    assert (await redemptions.call("POST", path, body, headers=headers)).code == "RDM000917"
    blind = await Owner.make(
        redemptions, campaign, await redemptions.application(campaign, scopes=("onboarding.write",))
    )
    assert (await blind.ask("GET", "")).code == "RDM000918"
    assert (await blind.register()).status == 202


async def test_nobody_but_the_operator_reads_and_moves_devices_by_their_id(
    redemptions: RedemptionStage, owner: Owner
) -> None:
    made = await owner.activate()
    path = f"/devices/{made['id']}"
    for headers in (owner.headers, redemptions.as_application(owner.application)):
        assert (await redemptions.call("GET", path, headers=headers)).status in (401, 403)
        for act in ("block", "unblock", "reset"):
            reply = await redemptions.call("POST", f"{path}/{act}", {"reason": "x"}, headers=headers)
            assert (reply.status, reply.code) == (403, "RDM000918")
    reader = await redemptions.operator("points.write")
    assert (await redemptions.call("GET", path, headers=reader)).json == made
    assert (await redemptions.call("POST", f"{path}/block", {"reason": "x"}, headers=reader)).code == "RDM000918"
    assert await owner.status(made) == ("active", None)


async def test_a_number_is_shown_in_full_by_its_scope_alone_and_that_is_written_down(
    redemptions: RedemptionStage, owner: Owner
) -> None:
    number = new_phone()
    made = await owner.activate(number)
    path = f"/devices/{made['id']}"
    full = await redemptions.call("GET", path, headers=await redemptions.operator("devices.read_full"))
    assert full.json == made | {"number": number}
    masked = await redemptions.call("GET", path, headers=await redemptions.operator("devices.admin"))
    assert masked.json == made
    readers = await redemptions.fetch(
        "select actor from audit where action = 'device.number_read' and details ->> 'key' = $1", made["id"]
    )
    assert len(readers) == 1 and readers[0][0].startswith("admin:operator")
    for unknown in (uuid4(), "x"):
        reply = await redemptions.call("GET", f"/devices/{unknown}", headers=await redemptions.operator())
        assert (reply.status, reply.code) == (404, "RDM000910")


async def test_no_table_an_answer_is_made_from_holds_a_number_in_clear(
    redemptions: RedemptionStage, owner: Owner
) -> None:
    number = new_phone()
    made = await owner.activate(number)
    await owner.register(number)
    await owner.operate(made, "block")
    for table in ("audit", "events", "operations", "challenges", "outbox", "phone_devices", "contacts", "callbacks"):
        rows = await redemptions.fetch(f"select t::text from {table} t where integrator_id = $1", owner.campaign.key)
        assert all(number[3:] not in text for (text,) in rows), table
    listed = await owner.ask("GET", "")
    assert number[3:] not in listed.body.decode() and number[-4:] in listed.body.decode()


async def test_the_list_is_newest_first_and_in_parts(owner: Owner) -> None:
    made = [(await owner.register()).json["id"] for _ in range(3)]
    listed = await owner.ask("GET", "?offset=1&limit=1")
    assert [item["id"] for item in listed.json["items"]] == [made[1]]
    assert (listed.json["offset"], listed.json["limit"], listed.json["total"]) == (1, 1, 3)
    newest = (await owner.ask("GET", "?limit=1")).json["items"][0]
    assert newest["id"] == made[2] and newest["approval"]["delivery"] == "queued"


async def test_a_repeated_call_under_its_key_answers_the_same_bytes(owner: Owner) -> None:
    made = await owner.register()
    token = await owner.token(made)
    first = await owner.validate(made, token, idempotency_key="prova-1")
    again = await owner.validate(made, token, idempotency_key="prova-1")
    assert (first.status, again.status) == (201, 201) and first.body == again.body
    assert (await owner.validate(made, "000000", idempotency_key="prova-1")).code == "RDM000902"
    assert (await owner.validate(made, token)).code == "RDM000086"
    waiting = await owner.register()
    token = await owner.token(waiting)
    first = await owner.validate(waiting, token, idempotency_key="prova-2")
    again = await owner.validate(waiting, token, idempotency_key="prova-2")
    assert (first.status, again.status) == (202, 202) and first.body == again.body
    wrong = await owner.validate(waiting, token, idempotency_key="prova-3")
    again = await owner.validate(waiting, token, idempotency_key="prova-3")
    assert wrong.code == "RDM000084" and wrong.body == again.body
    attempts = await owner.stage.value(
        "select attempts_used from challenges where operation_id = $1", await owner.operation(waiting)
    )
    assert attempts == 1


async def test_a_repeated_resend_under_its_key_sends_nothing_again(owner: Owner) -> None:
    made = await owner.register()
    await owner.shift(made, timedelta(seconds=30))
    first = await owner.resend(made, idempotency_key="de-novo")
    again = await owner.resend(made, idempotency_key="de-novo")
    assert (first.status, first.body) == (202, again.body) == (again.status, first.body)
    assert await owner.stage.value("select count(*) from outbox where operation_id = $1", key_of(made)) == 2


async def test_a_sealed_number_that_was_moved_to_another_device_is_not_shown(
    redemptions: RedemptionStage, owner: Owner
) -> None:
    made, other = await owner.register(), await owner.register()
    await redemptions.execute(
        "update contacts set destination_sealed = (select destination_sealed from contacts where contact_id = $2)"
        " where contact_id = $1",
        key_of(made),
        key_of(other),
    )
    reply = await redemptions.call("GET", f"/devices/{made.json['id']}", headers=await redemptions.operator())
    assert reply.status == 200 and "number" not in reply.json


async def test_a_device_does_not_print(owner: Owner) -> None:
    made = await owner.register()
    async with owner.stage.db.connection() as connection:
        device = await find_phone(connection, owner.campaign.key, key_of(made))
    assert repr(device) == "PhoneDevice"
