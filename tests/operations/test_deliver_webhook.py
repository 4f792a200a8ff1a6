"""Webhooks: signed, tried eight times at the documented gaps, each endpoint for itself, numbered without gaps."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from aval.channels.outbound import OutboundHttp
from aval.operations.deliver_webhook import Posted, deliver_webhook, record_callbacks
from aval.operations.register_webhook_endpoint import register_webhook_endpoint
from aval.operations.resend_callback import resend_callback
from aval.operations.rotate_webhook_secret import rotate_webhook_secret
from aval.storage.callbacks import PromisedCallback, claim_callbacks
from aval.storage.database import Database
from tests.factories import AUTHOR, Party, make_keyring
from tests.receiver import Receiver, receiving
from tests.stage import WEBHOOK_GAPS_S, WEBHOOKS, Stage, until, working

TYPES = ["baas.pix_transfer.outgoing_pix", "baas.ted.outgoing_ted", "aval.token_delivery.failed"]
LEASE = timedelta(seconds=30)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
async def outbound() -> AsyncIterator[OutboundHttp]:
    made = OutboundHttp([], True)
    yield made
    await made.close()


@pytest.fixture
async def own_party(own_stage: Stage) -> Party:
    return await own_stage.party()


@pytest.fixture
async def webhook_db(own_stage: Stage) -> Database:
    return await own_stage.open_as("aval_app_webhook")


async def register(stage: Stage, party: Party, url: str, **headers: str) -> tuple[UUID, str]:
    endpoint, secret = await register_webhook_endpoint(
        stage.db,
        integrator_key=party.key,
        url=url,
        event_types=TYPES,
        headers=headers,
        keyring=make_keyring(),
        author=AUTHOR,
    )
    return endpoint.key, secret


async def cancelled(stage: Stage, party: Party, count: int = 1) -> list[UUID]:
    """Operations that were cancelled, which is told."""
    keys = await stage.requests(party, count)
    await asyncio.gather(*(stage.cancel(party, key) for key in keys))
    return keys


async def claim(db: Database, *, lease: timedelta = LEASE, **options: Any) -> list[PromisedCallback]:
    async with db.connection() as connection:
        return await claim_callbacks(connection, most=100, lease=lease, **{"per_endpoint": 100} | options)


async def post(callback: PromisedCallback, outbound: OutboundHttp) -> Posted:
    return await deliver_webhook(callback=callback, keyring=make_keyring(), outbound=outbound, policy=WEBHOOKS)


async def callbacks(stage: Stage) -> list[Any]:
    return await stage.fetch("select status, claim_count, last_status, last_error from callbacks order by created_at")


async def make_due(stage: Stage) -> None:
    await stage.execute("update callbacks set due_at = clock_timestamp() where status = 'pending'")


async def test_a_webhook_is_signed_and_carries_its_envelope(
    own_stage: Stage, own_party: Party, receiver: Receiver, outbound: OutboundHttp, webhook_db: Database
):
    _, secret = await register(own_stage, own_party, f"{receiver.url}/200", **{"X-Own": "a"})
    (key,) = await cancelled(own_stage, own_party)
    (callback,) = await claim(webhook_db)
    assert await record_callbacks(webhook_db, posted=[await post(callback, outbound)]) == [True]
    (request,) = receiver.requests
    told = Webhook(secret).verify(request.body, request.headers)
    correlation_id = await own_stage.value("select correlation_id from operations where operation_id = $1", key)
    assert (told["event_id"], told["sequence"]) == (request.headers["webhook-id"], 1)
    assert told["correlation_id"] == request.headers["x-correlation-id"] == correlation_id
    assert told["data"]["pix_transfer_status"] == "cancelled" and request.headers["x-own"] == "a"
    assert request.headers["content-type"] == "application/json"
    assert await callbacks(own_stage) == [("sent", 1, 200, None)]


async def test_eight_tries_at_the_documented_gaps_then_failed(
    own_stage: Stage, own_party: Party, receiver: Receiver, outbound: OutboundHttp, webhook_db: Database
):
    await register(own_stage, own_party, f"{receiver.url}/500")
    await cancelled(own_stage, own_party)
    gaps = []
    for _ in range(8):
        (callback,) = await claim(webhook_db)
        await record_callbacks(webhook_db, posted=[await post(callback, outbound)])
        due_at = await own_stage.value("select due_at from callbacks")
        gaps.append((due_at - callback.now).total_seconds())
        await make_due(own_stage)
    assert gaps[:7] == list(WEBHOOK_GAPS_S)
    assert await claim(webhook_db) == []
    assert await callbacks(own_stage) == [("failed", 8, 500, None)]
    assert len({(request.headers["webhook-id"], request.body) for request in receiver.requests}) == 1
    key = await own_stage.value("select callback_id from callbacks")
    before = len(receiver.requests)
    assert (
        await resend_callback(own_stage.db, integrator_key=own_party.key, callback_key=key, author=AUTHOR) == "pending"
    )
    (callback,) = await claim(webhook_db)
    await record_callbacks(webhook_db, posted=[await post(callback, outbound)])
    assert (await callbacks(own_stage))[0][:2] == ("pending", 1) and len(receiver.requests) == before + 1


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [("/302", None, "redirect"), ("/hang", None, "timeout"), ("/404", 404, None)],
)
async def test_what_is_no_success_is_tried_again(
    own_stage: Stage,
    own_party: Party,
    receiver: Receiver,
    outbound: OutboundHttp,
    webhook_db: Database,
    path: str,
    status: int | None,
    error: str | None,
):
    receiver.answers["/302"] = [web.Response(status=302, headers={"Location": f"{receiver.url}/200"})]
    await register(own_stage, own_party, receiver.url + path)
    await cancelled(own_stage, own_party)
    (callback,) = await claim(webhook_db)
    await record_callbacks(webhook_db, posted=[await post(callback, outbound)])
    assert await callbacks(own_stage) == [("pending", 1, status, error)]
    assert receiver.on("/200") == []


async def test_a_receiver_that_asks_for_time_gets_it(
    own_stage: Stage, own_party: Party, receiver: Receiver, outbound: OutboundHttp, webhook_db: Database
):
    receiver.answers["/429"] = [web.Response(status=429, headers={"Retry-After": "7200"})]
    await register(own_stage, own_party, f"{receiver.url}/429")
    await cancelled(own_stage, own_party)
    (callback,) = await claim(webhook_db)
    posted = await post(callback, outbound)
    assert posted.result.due_at - callback.now == timedelta(hours=2)


async def test_gone_for_good_switches_the_endpoint_off_and_what_waits_for_it_fails_unsent(
    own_stage: Stage, own_party: Party, receiver: Receiver, outbound: OutboundHttp, webhook_db: Database
):
    endpoint, _ = await register(own_stage, own_party, f"{receiver.url}/410")
    await cancelled(own_stage, own_party, 2)
    first, _ = await claim(webhook_db)
    await record_callbacks(webhook_db, posted=[await post(first, outbound)])
    assert await own_stage.value("select enabled from webhook_endpoints where endpoint_id = $1", endpoint) is False
    await own_stage.execute(
        "update callbacks set due_at = clock_timestamp(), fence = fence + 1 where status = 'pending'"
    )
    (late,) = await claim(webhook_db)
    assert await record_callbacks(webhook_db, posted=[await post(late, outbound)]) == [True]
    assert len(receiver.requests) == 1
    assert sorted(await callbacks(own_stage), key=str) == [
        ("failed", 1, 410, None),
        ("failed", 2, None, "endpoint_disabled"),
    ]
    await cancelled(own_stage, own_party)
    assert await claim(webhook_db) == []


async def test_a_deleted_endpoint_hears_nothing_more(
    own_stage: Stage, own_party: Party, receiver: Receiver, outbound: OutboundHttp, webhook_db: Database
):
    endpoint, _ = await register(own_stage, own_party, f"{receiver.url}/200")
    await cancelled(own_stage, own_party)
    assert (await own_stage.call(own_party, "DELETE", f"/webhook_endpoints/{endpoint}")).status == 204
    (callback,) = await claim(webhook_db)
    await record_callbacks(webhook_db, posted=[await post(callback, outbound)])
    assert receiver.requests == [] and (await callbacks(own_stage))[0][0] == "failed"


async def test_after_a_rotation_both_secrets_sign_for_a_day(
    own_stage: Stage, own_party: Party, receiver: Receiver, outbound: OutboundHttp, webhook_db: Database
):
    endpoint, former = await register(own_stage, own_party, f"{receiver.url}/200")
    await cancelled(own_stage, own_party)
    secret = await rotate_webhook_secret(
        own_stage.db, integrator_key=own_party.key, endpoint_key=endpoint, keyring=make_keyring(), author=AUTHOR
    )
    (callback,) = await claim(webhook_db)
    await post(callback, outbound)
    await own_stage.execute(
        "update webhook_endpoints set former_secret_until = former_secret_until - interval '24 hours'"
    )
    await make_due(own_stage)
    (callback,) = await claim(webhook_db)
    await post(callback, outbound)
    during, after = receiver.requests
    assert len(during.headers["webhook-signature"].split()) == 2
    for each in (former, secret):
        Webhook(each).verify(during.body, during.headers)
    Webhook(secret).verify(after.body, after.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(former).verify(after.body, after.headers)


async def test_a_worker_that_lost_its_lease_records_nothing(
    own_stage: Stage, own_party: Party, receiver: Receiver, outbound: OutboundHttp, webhook_db: Database
):
    await register(own_stage, own_party, f"{receiver.url}/410")
    await cancelled(own_stage, own_party)
    (stale,) = await claim(webhook_db, lease=timedelta(0))
    posted = await post(stale, outbound)
    await claim(webhook_db)
    assert await record_callbacks(webhook_db, posted=[posted]) == [False]
    assert (await callbacks(own_stage))[0][0] == "pending"
    assert await own_stage.value("select enabled from webhook_endpoints") is True


async def test_a_missing_key_is_a_try_and_no_request(
    own_stage: Stage, own_party: Party, receiver: Receiver, outbound: OutboundHttp, webhook_db: Database
):
    await register(own_stage, own_party, f"{receiver.url}/200")
    await cancelled(own_stage, own_party)
    await own_stage.execute("update webhook_endpoints set secret_sealed = '\\x046e6f6e6500'")
    (callback,) = await claim(webhook_db)
    await record_callbacks(webhook_db, posted=[await post(callback, outbound)])
    assert receiver.requests == [] and await callbacks(own_stage) == [("pending", 1, None, "key_missing")]


async def test_an_endpoint_has_a_few_in_progress_and_leaves_room_for_others(
    own_stage: Stage, own_party: Party, receiver: Receiver, webhook_db: Database
):
    slow, _ = await register(own_stage, own_party, f"{receiver.url}/hang")
    await cancelled(own_stage, own_party, 10)
    first = await claim(webhook_db, per_endpoint=4)
    assert [callback.endpoint_key for callback in first] == [slow] * 4
    assert await claim(webhook_db, per_endpoint=4, in_progress={slow: 4}) == []
    assert len(await claim(webhook_db, per_endpoint=4, in_progress={slow: 1})) == 3


async def test_a_hanging_receiver_delays_no_other(own_stage: Stage, own_party: Party, receiver: Receiver):
    other = await own_stage.party()
    await register(own_stage, own_party, f"{receiver.url}/hang")
    await cancelled(own_stage, own_party, 150)
    async with working(await own_stage.worker()):

        async def is_hanging() -> bool:
            return len(receiver.on("/hang")) >= 16

        await until(is_hanging)
        await register(own_stage, other, f"{receiver.url}/200")
        await cancelled(own_stage, other, 5)

        async def is_told() -> bool:
            return len(receiver.on("/200")) == 5

        await until(is_told)
        assert len(receiver.on("/hang")) <= 2 * 16  # those that hung a whole second may have been followed by others
        receiver.let_go.set()


async def test_every_event_arrives_with_its_number_though_the_receiver_fails(
    own_stage: Stage, own_party: Party, receiver: Receiver
):
    """sent and returned: two events, in whatever order, numbered 1 and 2 and never twice under another id."""
    await register(own_stage, own_party, f"{receiver.url}/200")
    receiver.answers["/200"] = [web.Response(status=503) for _ in range(3)]
    gaps = (timedelta(milliseconds=50),) * 7
    keys = [await own_stage.request(own_party, "ted", transaction_amount=100.95) for _ in range(3)]
    webhooks = type(WEBHOOKS)(gaps=gaps, timeout=timedelta(seconds=1))
    async with working(await own_stage.worker(webhooks=webhooks)):
        await asyncio.gather(*(own_stage.approve(own_party, key, "ted") for key in keys))

        async def are_sent() -> bool:
            return await own_stage.value("select count(*) from callbacks where status = 'sent'") == 6

        await until(are_sent)
    bodies = [json.loads(request.body) for request in receiver.requests]
    numbered = {(body["data"]["ted_key"], body["sequence"]): body["data"]["ted_status"] for body in bodies}
    assert numbered == {(str(key), n): status for key in keys for n, status in ((1, "sent"), (2, "rejected"))}
    assert len({body["event_id"] for body in bodies}) == 6 and len(bodies) == 9
