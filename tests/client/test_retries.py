"""Both clients against a real API behind a real server that fails: what is repeated counts once, the rest is not."""

import asyncio
import json
from decimal import Decimal
from uuid import UUID

import pytest

from aval.client import AnswerNotUnderstood, ApiKey, NoAnswer, Refused, Retry
from tests.client.faulty_server import Fault, Told, running_faulty_server
from tests.client.flows import TARGET, token_of
from tests.proof.deployment import free_port
from tests.stage import wrong

AMOUNT = Decimal("202.01")
AFTER_COMMIT = [Fault.LOST_AFTER, Fault.CUT, Fault.SILENT]
TRIES = 4


@pytest.fixture
async def faulty(api):
    async with running_faulty_server(api.url) as server:
        yield server


@pytest.fixture(params=["bearer", "signed"])
async def aval(request, faulty, client_of, party, signing_key):
    """A client whose calls pass the faulty server."""
    credential = ApiKey(party.api_key) if request.param == "bearer" else signing_key
    return client_of(faulty.url, credential, timeout_s=5.0)


@pytest.fixture
async def ted(aval, party, approver):
    return await aval.create_ted(party.account.key, amount=AMOUNT, target=TARGET, approver=approver)


def problem(code: str) -> bytes:
    texts = {"title": "T", "description": "D", "translation": "T", "code": code, "extra_fields": {}}
    return json.dumps(texts).encode()


async def attempts_left(aval, party, key: UUID) -> int:
    return (await aval.get_ted(party.account.key, key)).approval.attempts_remaining


def sent_twice(faulty, *names: str) -> None:
    """The last two requests were the same to Aval, and each was signed for itself."""
    first, second = faulty.requests[-2:]
    assert (first.line, first.body) == (second.line, second.body)
    for name in ("x-correlation-id", *names):
        assert first.headers[name] == second.headers[name]
    if "api-client-key" in first.headers:
        assert first.headers["authorization"] != second.headers["authorization"]


@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE, *AFTER_COMMIT])
async def test_a_create_whose_answer_is_lost_makes_one_transfer(api, faulty, client_of, party, approver, fault) -> None:
    aval = client_of(faulty.url, ApiKey(party.api_key), timeout_s=0.5 if fault is Fault.SILENT else 5)
    faulty.faults.append(fault)
    ted = await aval.create_ted(party.account.key, amount=AMOUNT, target=TARGET, approver=approver)
    assert ted.status == "pending_2fa_approval"
    sent_twice(faulty)
    assert await api.count(party, "operations") == 1


async def test_a_validate_whose_answer_is_lost_approves_once(api, aval, faulty, party, ted) -> None:
    token = await token_of(aval, ted.key)
    faulty.faults.append(Fault.LOST_AFTER)
    approved = await aval.validate_ted(party.account.key, ted.key, token)
    assert approved.status == "pending"
    sent_twice(faulty, "idempotency-key")
    assert await api.count(party, "comparisons") == 1
    assert (await aval.get_account(party.account.key)).balance == Decimal("999797.99")


async def test_a_wrong_token_whose_answer_is_lost_costs_one_attempt(aval, faulty, party, ted) -> None:
    token = wrong(await token_of(aval, ted.key))
    faulty.faults += [Fault.LOST_AFTER, Fault.CUT]
    with pytest.raises(Refused) as refused:
        await aval.validate_ted(party.account.key, ted.key, token)
    assert (refused.value.code, refused.value.tries, refused.value.may_have_happened) == ("TED000084", 3, True)
    assert await attempts_left(aval, party, ted.key) == 4
    with pytest.raises(Refused):  # another logical call is another attempt
        await aval.validate_ted(party.account.key, ted.key, token)
    assert await attempts_left(aval, party, ted.key) == 3


async def test_a_resend_whose_answer_is_lost_sends_one_token(aval, faulty, party, ted) -> None:
    await aval.advance(ted.key, 60)
    faulty.faults.append(Fault.LOST_AFTER)
    resent = await aval.resend_ted(party.account.key, ted.key)
    sent_twice(faulty, "idempotency-key")
    assert resent.approval.generation == 2
    assert len((await aval.read_inbox(operation_key=ted.key)).rows) == 2


async def test_a_cancel_whose_answer_is_lost_is_no_invalid_status(aval, faulty, party, ted) -> None:
    faulty.faults.append(Fault.LOST_AFTER)
    assert (await aval.cancel_ted(party.account.key, ted.key)).status == "cancelled"
    sent_twice(faulty, "idempotency-key")


async def test_a_call_can_be_repeated_under_its_names_after_it_was_given_up(faulty, client_of, party, approver) -> None:
    aval = client_of(faulty.url, ApiKey(party.api_key), retry=Retry(tries_max=1))
    faulty.faults.append(Fault.LOST_AFTER)
    asked = {"amount": AMOUNT, "target": TARGET, "approver": approver}
    with pytest.raises(NoAnswer) as lost:
        await aval.create_ted(party.account.key, **asked)
    assert lost.value.may_have_happened and lost.value.tries == 1
    ted = await aval.create_ted(party.account.key, **asked, request_control_key=lost.value.request_control_key)
    assert str(ted.request_control_key) == lost.value.request_control_key

    token = wrong(await token_of(aval, ted.key))
    faulty.faults.append(Fault.LOST_AFTER)
    with pytest.raises(NoAnswer) as lost:
        await aval.validate_ted(party.account.key, ted.key, token)
    with pytest.raises(Refused):
        await aval.validate_ted(party.account.key, ted.key, token, idempotency_key=lost.value.idempotency_key)
    assert await attempts_left(aval, party, ted.key) == 4


REPEATED = [
    Told(503, {"Retry-After": "0"}, problem("QIT000944")),
    Told(503, {}, b"<html>"),
    Told(502, {}, b"<html>"),
    Told(504, {}, b""),
    Told(429, {"Retry-After": "0"}, problem("QIT000943")),
]


@pytest.mark.parametrize("told", REPEATED, ids=lambda told: f"{told.status} {told.body[:6]}")
async def test_a_server_that_cannot_now_is_asked_again(faulty, client_of, party, told) -> None:
    aval = client_of(faulty.url, ApiKey(party.api_key))
    faulty.faults += [told, told]
    assert (await aval.get_account(party.account.key)).key == party.account.key
    assert len(faulty.requests) == 3


FINAL = [
    Told(400, {}, problem("QIT000001")),
    Told(400, {"Retry-After": "0"}, problem("QIT000001")),
    Told(401, {}, problem("GDF000014")),
    Told(404, {}, problem("TED000020")),
    Told(409, {}, problem("TED000902")),
    Told(429, {}, problem("QIT000943")),
    Told(429, {"Retry-After": "3600"}, problem("QIT000943")),
    Told(500, {}, problem("QIT000500")),
    Told(503, {"Retry-After": "3600"}, problem("QIT000944")),
]


@pytest.mark.parametrize("told", FINAL, ids=lambda told: f"{told.status} {told.headers}")
async def test_every_other_error_ends_the_call(faulty, client_of, party, told) -> None:
    aval = client_of(faulty.url, ApiKey(party.api_key))
    faulty.faults.append(told)
    with pytest.raises(Refused) as refused:
        await aval.cancel_ted(party.account.key, party.key)
    assert (refused.value.status, len(faulty.requests)) == (told.status, 1)
    assert refused.value.may_have_happened == (told.status == 500)


async def test_tries_are_bounded(faulty, client_of, party) -> None:
    aval = client_of(faulty.url, ApiKey(party.api_key))
    faulty.faults += [Fault.LOST_BEFORE] * 9
    with pytest.raises(NoAnswer) as lost:
        await aval.get_account(party.account.key)
    assert (lost.value.tries, len(faulty.requests)) == (TRIES, TRIES)


async def test_a_page_of_something_between_is_not_understood(faulty, client_of, party) -> None:
    aval = client_of(faulty.url, ApiKey(party.api_key))
    faulty.faults += [Told(502, {}, b"<html>")] * 9
    with pytest.raises(AnswerNotUnderstood) as strange:
        await aval.get_account(party.account.key)
    assert (strange.value.status, strange.value.tries) == (502, TRIES)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<html>", b"\xff"])
async def test_a_good_status_with_another_body_is_not_understood(faulty, client_of, party, body) -> None:
    aval = client_of(faulty.url, ApiKey(party.api_key))
    faulty.faults.append(Told(202, {}, body))
    with pytest.raises(AnswerNotUnderstood) as strange:
        await aval.cancel_ted(party.account.key, party.key)
    assert strange.value.may_have_happened and len(faulty.requests) == 1


async def test_a_redirect_is_not_followed_with_the_credential(faulty, client_of, party) -> None:
    aval = client_of(faulty.url, ApiKey(party.api_key))
    faulty.faults.append(Told(307, {"Location": f"{faulty.url}/elsewhere"}))
    with pytest.raises(AnswerNotUnderstood):
        await aval.get_account(party.account.key)
    assert len(faulty.requests) == 1


UNREPEATABLE = {
    "create_webhook_endpoint": lambda aval, key: aval.create_webhook_endpoint("http://127.0.0.1:9/hook"),
    "rotate_webhook_secret": lambda aval, key: aval.rotate_webhook_secret(key),
    "advance": lambda aval, key: aval.advance(key, 1),
}


@pytest.mark.parametrize("fault", [Fault.LOST_AFTER, Told(502), Told(503, {}, b"<html>")], ids=str)
@pytest.mark.parametrize("name", UNREPEATABLE)
async def test_what_would_count_twice_is_not_repeated(faulty, client_of, party, name, fault) -> None:
    aval = client_of(faulty.url, ApiKey(party.api_key))
    faulty.faults.append(fault)
    with pytest.raises((NoAnswer, AnswerNotUnderstood)) as ended:
        await UNREPEATABLE[name](aval, party.key)
    assert (ended.value.may_have_happened, len(faulty.requests)) == (True, 1)


async def test_what_would_count_twice_is_repeated_after_aval_said_that_nothing_changed(
    faulty, client_of, party
) -> None:
    aval = client_of(faulty.url, ApiKey(party.api_key))
    made = await aval.create_webhook_endpoint("http://127.0.0.1:9/hook")
    faulty.faults.append(Told(503, {"Retry-After": "0"}, problem("QIT000944")))
    assert (await aval.rotate_webhook_secret(made.key)).secret != made.secret


async def test_a_removal_whose_answer_is_lost_is_done(faulty, client_of, party) -> None:
    aval = client_of(faulty.url, ApiKey(party.api_key))
    made = await aval.create_webhook_endpoint("http://127.0.0.1:9/hook")
    faulty.faults.append(Fault.LOST_AFTER)
    assert await aval.delete_webhook_endpoint(made.key) is None
    assert (await aval.list_webhook_endpoints()).rows == []


async def test_nobody_at_home_is_no_answer_and_nothing_happened(client_of, party) -> None:
    aval = client_of(f"http://127.0.0.1:{free_port()}", ApiKey(party.api_key))
    with pytest.raises(NoAnswer) as lost:
        await aval.advance(party.key, 1)
    assert (lost.value.tries, lost.value.may_have_happened) == (TRIES, False)
    assert lost.value.__context__ is None and party.api_key not in f"{lost.value!r} {lost.value} {vars(lost.value)}"


async def test_connections_are_kept_and_one_that_ended_is_not_used(faulty, client_of, party) -> None:
    aval = client_of(faulty.url, ApiKey(party.api_key), retry=Retry(tries_max=1))
    faulty.faults += [Fault.NONE, Fault.NONE, Fault.ENDED]
    for _ in range(3):
        await aval.get_account(party.account.key)
    assert faulty.connections == 1
    await asyncio.sleep(0.05)
    assert (await aval.get_account(party.account.key)).key == party.account.key
    assert faulty.connections == 2


async def test_one_client_serves_many_calls_at_once(api, client_of, party, approver) -> None:
    aval = client_of(api.url, ApiKey(party.api_key))
    asked = {"amount": AMOUNT, "target": TARGET, "approver": approver}
    teds = await asyncio.gather(*(aval.create_ted(party.account.key, **asked) for _ in range(24)))
    tokens = await asyncio.gather(*(token_of(aval, ted.key) for ted in teds))
    pairs = zip(teds, tokens, strict=True)
    approved = await asyncio.gather(*(aval.validate_ted(party.account.key, ted.key, token) for ted, token in pairs))
    assert [ted.key for ted in approved] == [ted.key for ted in teds]
    assert {ted.status for ted in approved} == {"pending"}
