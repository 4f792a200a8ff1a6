"""Both clients against a real API and a real worker."""

import inspect
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from aiohttp import web

from aval.client import (
    ApiKey,
    Approver,
    AvalClient,
    Brl,
    PixKey,
    PixQrCode,
    Refused,
    SyncAvalClient,
    verify_webhook,
)
from tests.client.flows import TARGET, token_of
from tests.stage import until, wrong

AMOUNT = Decimal("202.01")


def e2e() -> str:
    return f"E12345678202611231430{uuid4().hex[:11]}"


async def settled(aval, read, account_key, key: UUID):
    async def look():
        seen = await read(account_key, key)
        return seen if seen.status == "sent" else None

    return await until(look)


async def test_a_ted_goes_from_request_to_sent(aval, party, approver) -> None:
    account = party.account.key
    control_key = uuid4()
    ted = await aval.create_ted(
        account,
        amount=AMOUNT,
        target=TARGET,
        approver=approver,
        request_control_key=control_key,
        correlation_id="order-1",
    )
    assert (ted.request_control_key, ted.status, ted.amount) == (control_key, "pending_2fa_approval", AMOUNT)
    assert ted.approval.attempts_remaining == 5 and ted.approval.expires_at.tzinfo is not None
    approved = await aval.validate_ted(account, ted.key, await token_of(aval, ted.key))
    assert (approved.key, approved.status, approved.approval) == (ted.key, "pending", None)
    sent = await settled(aval, aval.get_ted, account, ted.key)
    assert sent.transaction_key and sent.target_account.owner_name == TARGET.owner_name
    listed = await aval.list_ted(account, request_control_key=control_key, status="sent", page_size=1)
    assert [row.key for row in listed.rows] == [ted.key] and (listed.number, listed.next_page, listed.size) == (
        1,
        None,
        1,
    )
    assert (await aval.get_account(account)).balance == Decimal("999797.99")
    events = await until(lambda: _rows(aval.list_events(origin_key=ted.key)))
    assert [event.event_type for event in events] == ["baas.ted.outgoing_ted"]


async def _rows(pages):
    return (await pages).rows


@pytest.mark.parametrize(
    "target",
    [
        TARGET,
        PixKey("52998224725", e2e()),
        PixQrCode("static_qr_code", "52998224725", e2e(), "REC1207"),
    ],
    ids=["manual", "key", "qr code"],
)
async def test_a_pix_goes_from_request_to_sent(aval, party, approver, target) -> None:
    account = party.account.key
    pix = await aval.create_pix(account, amount=Brl(2_050), target=target, approver=approver, message="Nota 1207")
    await aval.validate_pix(account, pix.key, await token_of(aval, pix.key))
    sent = await settled(aval, aval.get_pix, account, pix.key)
    assert (sent.amount, sent.message, sent.end_to_end_id) == (Decimal("20.5"), "Nota 1207", pix.end_to_end_id)
    listed = await aval.list_pix(account, end_to_end_id=pix.end_to_end_id, order_by="desc")
    assert listed.rows == [sent]


async def test_every_call_can_be_signed(api, client_of, party, approver, signing_key) -> None:
    aval, account = client_of(api.url, signing_key), party.account.key
    pix = await aval.create_pix(account, amount=AMOUNT, target=TARGET, approver=approver)
    resent = await aval.list_pix(account, request_control_key=pix.request_control_key, status="pending_2fa_approval")
    assert resent.rows[0].approval == pix.approval
    assert (await aval.read_inbox(operation_key=pix.key, destination=party.phone)).rows
    await aval.validate_pix(account, pix.key, await token_of(aval, pix.key))
    assert (await settled(aval, aval.get_pix, account, pix.key)).key == pix.key
    cancelled = await aval.create_ted(account, amount=AMOUNT, target=TARGET, approver=approver)
    assert (await aval.cancel_ted(account, cancelled.key)).status == "cancelled"


async def test_wrong_tokens_are_refusals_and_the_fifth_tells_what_became_of_the_transfer(aval, party, approver) -> None:
    account = party.account.key
    ted = await aval.create_ted(account, amount=AMOUNT, target=TARGET, approver=approver)
    token = wrong(await token_of(aval, ted.key))
    for _ in range(4):
        with pytest.raises(Refused) as refused:
            await aval.validate_ted(account, ted.key, token)
        assert (refused.value.status, refused.value.code, refused.value.snapshot) == (400, "TED000084", None)
        assert not refused.value.may_have_happened
    with pytest.raises(Refused) as refused:
        await aval.validate_ted(account, ted.key, token, correlation_id="fifth")
    error = refused.value
    assert (error.code, error.correlation_id, error.extra_fields["ted_data"]["ted_key"]) == (
        "TED000082",
        "fifth",
        str(ted.key),
    )
    assert (error.snapshot.key, error.snapshot.status, error.snapshot.amount) == (ted.key, "rejected", AMOUNT)
    assert token not in f"{error!r} {error} {vars(error)}"


async def test_a_new_token_voids_the_old_one(aval, party, approver) -> None:
    account = party.account.key
    pix = await aval.create_pix(account, amount=AMOUNT, target=TARGET, approver=approver)
    old = await token_of(aval, pix.key)
    with pytest.raises(Refused) as refused:
        await aval.resend_pix(account, pix.key)
    assert refused.value.code == "PXT000903" and refused.value.retry_after_s > 2 and refused.value.tries == 1
    assert (await aval.advance(pix.key, 60)).generation == 1
    resent = await aval.resend_pix(account, pix.key, "email")
    assert (resent.approval.generation, resent.approval.method) == (2, "email")
    with pytest.raises(Refused) as refused:
        await aval.validate_pix(account, pix.key, old)
    assert (refused.value.code, refused.value.reason) == ("PXT000173", "superseded_token")
    assert (await aval.cancel_pix(account, pix.key)).status == "cancelled"
    assert await aval.advance(pix.key, 60) is None


async def test_webhooks_are_registered_received_verified_and_sent_again(aval, party, approver) -> None:
    received: list[tuple[dict[str, str], bytes]] = []

    async def receive(request: web.Request) -> web.Response:
        received.append((dict(request.headers), await request.read()))
        return web.Response(status=204)

    application = web.Application()
    application.router.add_post("/hook", receive)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        made = await aval.create_webhook_endpoint(url, event_types=["baas.ted.outgoing_ted"])
        assert made.secret.startswith("whsec_") and made.secret not in repr(made)
        ted = await aval.create_ted(party.account.key, amount=AMOUNT, target=TARGET, approver=approver)
        await aval.cancel_ted(party.account.key, ted.key)

        async def first():
            return received

        await until(first)
        headers, body = received[0]
        webhook = verify_webhook(made.secret, headers, body)
        assert (webhook.data["ted_key"], webhook.data["ted_status"]) == (str(ted.key), "cancelled")
        assert webhook.data["transaction_amount"] == AMOUNT

        events = (await aval.list_events(origin_key=ted.key, callback_status="sent")).rows or (
            await until(lambda: _rows(aval.list_events(origin_key=ted.key, callback_status="sent")))
        )
        await aval.resend_callback(events[0].callbacks[0].key)

        async def second():
            return received[1:]

        await until(second)
        assert verify_webhook(made.secret, *received[1]).event_id == webhook.event_id
    finally:
        await runner.cleanup()


async def test_webhook_endpoints_are_changed_rotated_and_removed(aval) -> None:
    made = await aval.create_webhook_endpoint("http://127.0.0.1:9/hook", headers={"X-Shop": "1"})
    rotated = await aval.rotate_webhook_secret(made.key)
    assert rotated.secret != made.secret
    changed = await aval.change_webhook_endpoint(made.key, event_types=["baas.ted.outgoing_ted"], enabled=False)
    assert (changed.event_types, changed.enabled) == (["baas.ted.outgoing_ted"], False)
    assert (await aval.list_webhook_endpoints()).rows == [changed]
    assert await aval.delete_webhook_endpoint(made.key) is None
    with pytest.raises(Refused) as refused:
        await aval.delete_webhook_endpoint(made.key)
    assert refused.value.code == "QIT000404"


async def test_a_wrong_key_is_told_by_its_code(api, client_of, party) -> None:
    aval = client_of(api.url, ApiKey("aval_test_unknown"))
    with pytest.raises(Refused) as refused:
        await aval.get_account(party.account.key)
    assert (refused.value.status, refused.value.code) == (401, "GDF000014")
    assert "aval_test_unknown" not in f"{refused.value!r} {refused.value} {vars(refused.value)}"


async def test_a_schema_error_names_its_field(aval, party) -> None:
    with pytest.raises(Refused) as refused:
        await aval.create_ted(party.account.key, amount=AMOUNT, target=TARGET, approver=Approver("11144477734"))
    assert refused.value.code == "QIT000001"
    assert refused.value.extra_fields["errors"][0]["field"] == "tfa_info.approver_document_number"


def test_both_clients_have_the_same_calls() -> None:
    def calls(client: type) -> dict[str, object]:
        return {name: getattr(client, name) for name in dir(client) if not name.startswith("_")}

    asynchronous, synchronous = calls(AvalClient), calls(SyncAvalClient)
    assert asynchronous.keys() == synchronous.keys()
    assert len(asynchronous) == 56
    for name in asynchronous.keys() - {"send", "close"}:
        assert asynchronous[name] == synchronous[name]


def test_methods_are_documented_as_the_functions_they_are_made_of() -> None:
    client = SyncAvalClient("https://aval.example.com", ApiKey("aval_test_x"))
    assert list(inspect.signature(client.create_ted).parameters) == [
        "account_key",
        "amount",
        "target",
        "approver",
        "request_control_key",
        "correlation_id",
    ]
    assert client.create_ted.__doc__ == AvalClient.create_ted.__doc__
