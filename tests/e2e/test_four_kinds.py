"""The four kinds of transfer from request to signed webhook, through the Python client alone.

`aval serve` and `aval worker` are processes of their own, over a PostgreSQL of their own; the only shortcut is how the
integrator came to be.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from aval.client import (
    ApiKey,
    Approver,
    AvalClient,
    PixItem,
    PixKey,
    PixQrCode,
    TargetAccount,
    TedItem,
    Webhook,
    WebhookNotValid,
    verify_webhook,
)
from tests.factories import Party, make_party
from tests.proof.deployment import RunningAval, running_deployment
from tests.receiver import Receiver, receiving
from tests.stage import until

REFUSED = Decimal("12.99")  # spec transfers.md §10: these centavos make the sandbox's rail refuse
TARGET = TargetAccount(
    account_branch="0001",
    account_number="7654321",
    account_digit="0",
    owner_document_number="11222333000181",
    owner_name="Padaria Boa Vista Ltda",
    ispb="87654321",
)


@dataclass
class Integrator:
    """One integrator: its client, its account, and what its server was told."""

    aval: AvalClient
    party: Party
    receiver: Receiver
    secret: str = field(repr=False)

    @property
    def account(self) -> UUID:
        return self.party.account.key

    @property
    def approver(self) -> Approver:
        return Approver(self.party.document_number)

    async def token(self, key: UUID) -> str:
        """What the approver reads on the phone."""

        async def delivered() -> str | None:
            rows = (await self.aval.read_inbox(operation_key=key)).rows
            return next((row.text[-6:] for row in rows if row.delivery_status == "delivered"), None)

        return await until(delivered)

    async def webhooks(self, count: int) -> list[Webhook]:
        """Everything that was told until there is this much of it, each once and in the order of its operation."""

        async def all_of_it() -> list[Webhook] | None:
            heard = {webhook.event_id: webhook for webhook in map(self._verified, self.receiver.on("/204"))}
            return sorted(heard.values(), key=lambda webhook: webhook.sequence) if len(heard) >= count else None

        return await until(all_of_it)

    def _verified(self, received: Any) -> Webhook:
        return verify_webhook(self.secret, received.headers, received.body)


@pytest.fixture(scope="module")
async def deployment() -> AsyncIterator[RunningAval]:
    async with running_deployment(apis=1, workers=1) as running:
        yield running


@pytest.fixture
async def integrator(deployment: RunningAval) -> AsyncIterator[Integrator]:
    party, url = await make_party(deployment.db), deployment.apis[0].url
    assert url is not None
    async with receiving() as receiver, AvalClient(url, ApiKey(party.api_key)) as aval:
        made = await aval.create_webhook_endpoint(f"{receiver.url}/204")
        yield Integrator(aval, party, receiver, made.secret)
        await aval.delete_webhook_endpoint(made.key)


def e2e() -> str:
    return f"E12345678202611231430{uuid4().hex[:11]}"


def told_of(webhooks: Sequence[Webhook], *keys: UUID) -> list[tuple[str, str]]:
    """Type and status of what was told of these operations, in their order."""
    wanted = set(map(str, keys))
    return [
        (webhook.webhook_type, next(value for name, value in webhook.data.items() if name.endswith("_status")))
        for webhook in webhooks
        if wanted & {value for name, value in webhook.data.items() if name.endswith("_key")}
    ]


async def test_the_four_kinds_are_approved_settled_and_told(integrator: Integrator) -> None:
    aval, account, approver = integrator.aval, integrator.account, integrator.approver
    before = (await aval.get_account(account)).balance

    pix, ted, pix_batch, ted_batch = await asyncio.gather(
        aval.create_pix(account, amount=Decimal("349.90"), target=PixKey("52998224725", e2e()), approver=approver),
        aval.create_ted(account, amount=Decimal("202.01"), target=TARGET, approver=approver),
        aval.create_pix_batch(
            account,
            items=[
                PixItem(amount=Decimal(1500), target=PixKey("maria@example.com", e2e()), message="Nota 1207"),
                PixItem(amount=REFUSED, target=TARGET),
                PixItem(amount=Decimal("80.5"), target=PixQrCode("static_qr_code", "52998224725", e2e(), "REC1207")),
            ],
            approver=approver,
        ),
        aval.create_ted_batch(
            account,
            items=[TedItem(amount=Decimal(4200), target=TARGET), TedItem(amount=REFUSED, target=TARGET)],
            approver=approver,
        ),
    )
    asked = {pix.status, ted.status, pix_batch.status, ted_batch.status}
    assert asked == {"pending_2fa_approval"}
    assert (await aval.get_account(account)).balance == before

    assert (await aval.validate_pix(account, pix.key, await integrator.token(pix.key))).status == "pending"
    assert (await aval.validate_ted(account, ted.key, await integrator.token(ted.key))).status == "pending"
    for validate, batch in ((aval.validate_pix_batch, pix_batch), (aval.validate_ted_batch, ted_batch)):
        assert (await validate(account, batch.key, await integrator.token(batch.key))).status == "approved"

    webhooks = await integrator.webhooks(2 + 4 + 3)  # two singles, three items and two items, each batch's end
    read_pix, read_ted = await aval.get_pix(account, pix.key), await aval.get_ted(account, ted.key)
    assert (read_pix.status, read_ted.status) == ("sent", "sent")
    assert told_of(webhooks, pix.key) == [("baas.pix_transfer.outgoing_pix", "sent")]
    assert told_of(webhooks, ted.key) == [("baas.ted.outgoing_ted", "sent")]

    pix_items = [item async for item in aval.each_pix_batch_item(account, pix_batch.key)]
    assert [item.status for item in pix_items] == ["sent", "rejected", "sent"]
    told = told_of(webhooks, pix_batch.key, *(item.key for item in pix_items))
    assert sorted(told[:-1]) == [("baas.pix_transfer.outgoing_pix", status) for status in ("rejected", "sent", "sent")]
    assert told[-1] == ("aval.pix_transfer_batch.finished", "approved")

    ted_items = [item async for item in aval.each_ted_batch_item(account, ted_batch.key)]
    assert [(item.status, item.batch_key) for item in ted_items] == [
        ("sent", ted_batch.key),
        ("rejected", ted_batch.key),
    ]
    assert ted_items[1].refusal_reason.enumerator is not None
    told = told_of(webhooks, ted_batch.key, *(item.key for item in ted_items))
    assert sorted(told[:-1]) == [("baas.ted.outgoing_ted", status) for status in ("rejected", "sent")]
    assert told[-1] == ("aval.ted_batch.finished", "approved")

    sent = Decimal("349.90") + Decimal("202.01") + Decimal("1580.5") + Decimal(4200)
    fees = read_pix.fee + read_ted.fee + sum(item.fee for item in ted_items if item.status == "sent")
    assert (await aval.get_account(account)).balance == before - sent - fees


async def test_what_a_batchs_end_tells_is_what_is_read_and_nobody_else_can_say_it(integrator: Integrator) -> None:
    aval, account = integrator.aval, integrator.account
    items = [TedItem(amount=Decimal(10), target=TARGET), TedItem(amount=REFUSED, target=TARGET)]
    batch = await aval.create_ted_batch(account, items=items, approver=integrator.approver, correlation_id="payroll")
    await aval.validate_ted_batch(account, batch.key, await integrator.token(batch.key))
    webhooks = await integrator.webhooks(3)
    assert [webhook.sequence for webhook in webhooks] == [1, 2, 3]
    assert {webhook.correlation_id for webhook in webhooks} == {"payroll"}

    finished, read = webhooks[-1], await aval.get_ted_batch(account, batch.key)
    assert finished.webhook_type == "aval.ted_batch.finished"
    assert (read.items_pending, read.items_sent, read.items_rejected) == (0, 1, 1)
    for name in ("items_pending", "items_sent", "items_rejected", "item_count", "total_amount"):
        assert finished.data[name] == getattr(read, name), name

    events = [event async for event in aval.each_event(origin_key=batch.key)]
    assert {event.key for event in events} == {webhook.event_id for webhook in webhooks}
    items_told = {event.origin_key for event in events} - {batch.key}
    assert items_told == {item.key async for item in aval.each_ted_batch_item(account, batch.key)}
    (received, *_) = (each for each in integrator.receiver.on("/204") if b"ted_batch.finished" in each.body)
    for secret, body in (
        (integrator.secret, received.body.replace(b"approved", b"rejected")),
        ((await aval.create_webhook_endpoint(f"{integrator.receiver.url}/200")).secret, received.body),
    ):
        with pytest.raises(WebhookNotValid):
            verify_webhook(secret, received.headers, body)
