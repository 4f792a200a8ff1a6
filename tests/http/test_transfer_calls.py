"""Second-factor calls in every state: what is answered, and that only an evaluated wrong token costs an attempt."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from tests.factories import Reply, make_party
from tests.transfers import Wire, later, settle
from tests.world import World

CODES = {
    "pix_transfer": {
        "attempts": "PXT000171",
        "expired": "PXT000172",
        "incorrect": "PXT000173",
        "validating": "PXT000174",
        "status": "PXT000175",
        "too_soon": "PXT000903",
        "no_resend_left": "PXT000904",
        "device_pending": "PXT000905",
        "required": "PXT000908",
        "no_resend": "PXT000911",
        "contact": "PXT000913",
    },
    "ted": {
        "attempts": "TED000082",
        "expired": "TED000083",
        "incorrect": "TED000084",
        "validating": "TED000085",
        "status": "TED000086",
        "too_soon": "TED000903",
        "no_resend_left": "TED000904",
        "device_pending": "TED000905",
        "required": "TED000110",
        "no_resend": "TED000911",
        "contact": "TED000913",
    },
}
NOT_TOKENS: list[Any] = [
    329123,
    True,
    ["329123"],
    {"text": "329123"},
    "12345",
    "1234567",
    "329-adf",
    " ",
    "٣٢٩١٢٣",
    "\uff13\uff12\uff19\uff11\uff12\uff13",
    "329ad²",
    "329ad\u212a",
    "329ad\u0301",
    "329adf\u200d",
    "329adf\u0000",
    "\u00a0329adf",
]


@pytest.fixture(params=["pix_transfer", "ted"])
async def wire(world: World, request: pytest.FixtureRequest) -> Wire:
    return Wire(world, await make_party(world.db), request.param)


def codes(wire: Wire) -> dict[str, str]:
    return CODES[wire.kind]


async def approval(wire: Wire, key: UUID) -> dict[str, Any]:
    found: dict[str, Any] = (await wire.read(key)).json["approval"]
    return found


async def wrong(wire: Wire, key: UUID) -> str:
    """Six symbols that are not the live token."""
    return "000000" if await wire.world.token(wire.party, key) != "000000" else "000001"


async def test_what_is_no_token_is_refused_and_never_repeated(wire: Wire) -> None:
    key = await wire.new()
    for token in NOT_TOKENS:
        answer = await wire.validate(key, {"token": token})
        assert (answer.status, answer.code) == (400, "QIT000001"), token
        (error,) = answer.json["extra_fields"]["errors"]
        assert error["field"] == "token"
        assert "329" not in answer.body.decode()
    for body in (None, {}, {"token": None}, {"token": ""}):
        answer = await wire.validate(key, body)
        assert (answer.status, answer.code) == (400, codes(wire)["required"]), body
    for extra in ("status", "attempts", "integrator_id", "__proto__"):
        assert (await wire.validate(key, {"token": "000000", extra: 1})).code == "QIT000001"
    assert (await approval(wire, key))["attempts_remaining"] == 5


@pytest.mark.parametrize("spelling", [str.lower, str.upper, lambda text: f" \t{text}\r\n"])
async def test_a_token_is_taken_in_every_friendly_spelling(wire: Wire, spelling: Callable[[str], str]) -> None:
    key = await wire.new()
    assert (await wire.validate(key, spelling(await wire.world.token(wire.party, key)))).status == 202


async def test_crockford_symbols_may_be_read_wrongly(world: World) -> None:
    wire = Wire(world, await make_party(world.db, fixed_token="OIL0Z1"), "pix_transfer")
    assert (await wire.validate(await wire.new(), "011oz l".replace(" ", ""))).status == 202


async def test_a_token_in_the_query_is_refused_before_anything(wire: Wire) -> None:
    key = await wire.new()
    answer = await wire.call("PUT", f"{wire.base}/{key}/validate_token?token=000000", {"token": "000000"})
    assert (answer.status, answer.code) == (400, "QIT000400")
    assert (await approval(wire, key))["attempts_remaining"] == 5


async def test_an_attempt_is_told_until_the_fifth(wire: Wire) -> None:
    key = await wire.new()
    guess = await wrong(wire, key)
    for left in (4, 3, 2, 1):
        answer = await wire.validate(key, guess)
        assert (answer.status, answer.code, answer.json["extra_fields"]) == (400, codes(wire)["incorrect"], {})
        assert (await approval(wire, key))["attempts_remaining"] == left
    assert (await wire.approve(key)).status == 202


async def test_an_older_token_is_superseded_and_costs_an_attempt(wire: Wire) -> None:
    key = await wire.new()
    await wire.world.advance(key, 30)
    assert (await wire.resend(key)).status == 202
    answer = await wire.validate(key, await wire.world.token(wire.party, key, 1))
    assert (answer.status, answer.code) == (400, codes(wire)["incorrect"])
    assert answer.json["extra_fields"] == {"reason": "superseded_token"}
    assert (await approval(wire, key))["attempts_remaining"] == 4
    for _ in range(3):
        await wire.validate(key, await wrong(wire, key))
    last = await wire.validate(key, await wire.world.token(wire.party, key, 1))
    assert last.code == codes(wire)["attempts"]


async def test_an_expired_token_is_not_compared_and_a_resend_works(wire: Wire) -> None:
    key = await wire.new()
    await wire.world.advance(key, 300)
    right, guessed = await wire.approve(key), await wire.validate(key, await wrong(wire, key))
    assert (right.status, right.code) == (400, codes(wire)["expired"])
    assert right.body == guessed.body
    assert (await approval(wire, key))["attempts_remaining"] == 5
    assert (await wire.resend(key)).status == 202
    assert (await wire.approve(key)).status == 202


async def cancelled(wire: Wire, key: UUID) -> None:
    assert (await wire.cancel(key)).status == 200


async def sent(wire: Wire, key: UUID) -> None:
    assert (await wire.approve(key)).status == 202
    await settle(wire.world)


async def approved(wire: Wire, key: UUID) -> None:
    assert (await wire.approve(key)).status == 202


async def overdue(wire: Wire, key: UUID) -> None:
    await wire.world.advance(key, 3600)


async def short_of_funds(wire: Wire, key: UUID) -> None:
    await wire.world.execute("update accounts set balance_centavos = 0 where account_id = $1", wire.party.account.key)
    assert (await wire.approve(key)).status == 400


@pytest.mark.parametrize("end", [cancelled, sent, approved, overdue, short_of_funds])
async def test_what_waits_no_more_answers_invalid_status(
    wire: Wire, end: Callable[[Wire, UUID], Awaitable[None]]
) -> None:
    key = await wire.new()
    token = await wire.world.token(wire.party, key)
    await end(wire, key)
    answers = [
        await wire.validate(key, token),
        await wire.validate(key, "000000"),
        await wire.validate(key, None),
        await wire.resend(key),
        await wire.cancel(key),
    ]
    status = 404 if wire.kind == "ted" else 400
    assert {(answer.status, answer.code, answer.body) for answer in answers} == {
        (status, codes(wire)["status"], answers[0].body)
    }
    assert answers[0].json["extra_fields"] == {}


async def test_after_the_fifth_wrong_token_only_cancel_answers_invalid_status(wire: Wire) -> None:
    key = await wire.new()
    token = await wire.world.token(wire.party, key)
    last = (await wire.exhaust(key))[-1]
    for answer in (await wire.validate(key, token), await wire.validate(key, "000000"), await wire.validate(key, None)):
        assert (answer.status, answer.body) == (400, last.body)
    assert (await wire.resend(key)).code == codes(wire)["attempts"]
    assert (await wire.cancel(key)).code == codes(wire)["status"]


async def test_past_its_window_it_is_rejected_at_once_everywhere(wire: Wire) -> None:
    key = await wire.new()
    await wire.world.advance(key, 3600)
    unseen = await wire.read(key)
    assert unseen.json[f"{wire.kind}_status"] == "rejected"
    assert (await wire.approve(key)).code == codes(wire)["status"]
    seen = (await wire.read(key)).json
    reason = seen["rejection_reason"] if wire.kind == "pix_transfer" else seen["refusal_reason"]["enumerator"]
    assert reason == "approval_window_expired"
    events = await wire.world.fetch("select sequence from events where operation_id = $1", key)
    assert [event["sequence"] for event in events] == [1]


def on_device(key: UUID) -> str:
    """There is no way yet to ask for one; its answers are decided all the same."""
    return (
        "update challenges set method = 'device', contact_id = null, masked_destination = null"
        f" where operation_id = '{key}' and integrator_id = $1"
    )


async def test_a_device_operation_takes_no_token_and_none_is_resent(wire: Wire) -> None:
    key = await wire.new()
    token = await wire.world.token(wire.party, key)
    await wire.world.execute(on_device(key), wire.party.key)
    await wire.world.advance(key, 301)
    told = await approval(wire, key)
    assert (told["method"], told["masked_destination"], told["attempts_remaining"]) == ("device", None, None)
    assert (told["expires_at"], told["can_resend_at"]) == (told["approval_deadline"], None)
    for body in (None, {}, {"token": None}, {"token": ""}):
        answer = await wire.validate(key, body)
        assert (answer.status, answer.code) == (409, codes(wire)["device_pending"])
    refused = await wire.validate(key, token)
    assert (refused.status, refused.code) == (400, "QIT000001")
    assert ((answer := await wire.resend(key)).status, answer.code) == (400, codes(wire)["no_resend"])
    assert (await wire.cancel(key)).status == 200


async def test_without_the_token_key_nothing_is_compared(wire: Wire) -> None:
    key = await wire.new()
    token = await wire.world.token(wire.party, key)
    await wire.world.execute("update challenges set kid = 'gone' where operation_id = $1", key)
    for guess in (token, "000000"):
        answer = await wire.validate(key, guess)
        assert (answer.status, answer.code) == (400, codes(wire)["validating"])
    assert (await approval(wire, key))["attempts_remaining"] == 5


async def test_a_resend_waits_for_the_cooldown_and_ends_at_its_limit(world: World) -> None:
    wire = Wire(world, await make_party(world.db, max_resends=2, resend_cooldown_seconds=7), "ted")
    key = await wire.new()
    early = await wire.resend(key)
    assert (early.status, early.code, early.headers["retry-after"]) == (429, "TED000903", "7")
    assert early.json["description"] == "A new token can be requested in 7 seconds"
    for generation, left in ((2, True), (3, False)):
        await world.advance(key, 7)
        told = (await wire.resend(key)).json["approval"]
        assert (told["generation"], told["can_resend_at"] is not None) == (generation, left)
    await world.advance(key, 1800)
    spent = await wire.resend(key)
    assert (spent.status, spent.code) == (429, "TED000904")
    assert spent.headers["retry-after"] == str(3600 - 14 - 1800)  # to the deadline, rounded up


async def test_the_cooldown_is_rounded_up(wire: Wire) -> None:
    key = await wire.new()
    await wire.world.advance(key, 28.5)
    assert (await wire.resend(key)).headers["retry-after"] in ("1", "2")
    assert (await wire.world.fetch("select count(*) from outbox where operation_id = $1", key))[0]["count"] == 1


async def test_a_resend_may_switch_the_channel_for_good(wire: Wire) -> None:
    key = await wire.new()
    chosen = [(None, "sms"), ({"contact_type": "email"}, "email"), ({}, "email"), ({"contact_type": None}, "email")]
    for body, method in chosen:
        await wire.world.advance(key, 30)
        told = (await wire.resend(key, body)).json["approval"]
        assert told["method"] == method
        assert told["masked_destination"].startswith("+55" if method == "sms" else "a***@")
    for other in ("device", "SMS", "", 1):
        assert (await wire.resend(key, {"contact_type": other})).code == "QIT000001"
    removed = "update contacts set removed_at = usable_at where contact_type = 'sms' and integrator_id = $1"
    await wire.world.execute(removed, wire.party.key)
    await wire.world.advance(key, 30)
    assert (await wire.resend(key, {"contact_type": "sms"})).code == codes(wire)["contact"]
    assert (await wire.resend(key)).status == 202
    rows = await wire.world.fetch("select channel from outbox where operation_id = $1 order by generation", key)
    assert [row["channel"] for row in rows] == ["sms", "sms", "email", "email", "email", "email"]


async def test_a_resend_restarts_the_five_minutes_and_nothing_else(wire: Wire) -> None:
    key = await wire.new()
    await wire.validate(key, await wrong(wire, key))
    before = await approval(wire, key)
    await wire.world.advance(key, 200)
    told = (await wire.resend(key)).json["approval"]
    assert told["attempts_remaining"] == 4
    assert told["expires_at"] > before["expires_at"]
    assert told["approval_deadline"] == later(before["approval_deadline"], seconds=-200)
    assert told["can_resend_at"] == later(told["expires_at"], seconds=-270)


async def test_a_spent_budget_leaves_the_operation_as_it_is(world: World) -> None:
    wire = Wire(world, await make_party(world.db, budgets=True), "pix_transfer")
    key = await wire.new()
    for _ in range(2):
        await wire.exhaust(await wire.new())
    answers: list[Reply] = [await wire.approve(key), await wire.create()]
    await world.advance(key, 30)
    answers.append(await wire.resend(key))
    for answer in answers:
        assert (answer.status, answer.code) == (429, "QIT000943")
        assert answer.json["extra_fields"] == {"reason": "approver_locked"}
        assert 86_300 <= int(answer.headers["retry-after"]) <= 86_400
        assert answer.headers["retry-after"] in answer.json["description"]
    assert (await approval(wire, key))["attempts_remaining"] == 5
    assert (await wire.cancel(key)).status == 200


async def test_a_spent_digits_budget_ends_digits_tokens_until_a_resend(world: World) -> None:
    wire = Wire(world, await make_party(world.db, budgets=True), "ted")
    first, second, third = [await wire.new() for _ in range(3)]
    await wire.exhaust(first)
    guess = await wrong(wire, second)
    told = [(await wire.validate(second, guess)).code for _ in range(4)]
    assert told == ["TED000084", "TED000084", "TED000084", "TED000083"]
    assert (await wire.approve(third)).code == "TED000083"
    await world.advance(third, 30)
    await wire.resend(third)
    rows = await world.fetch("select alphabets from challenges where operation_id = $1", third)
    assert rows[0]["alphabets"] == "dc"
    assert (await wire.approve(third)).status == 202
