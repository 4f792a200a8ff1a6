"""Messages of redemptions on their way: one SMS part to the registered phone, told when it cannot be reached."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from aval.channels.inbox import FAILING_DESTINATION, REFUSED_DESTINATION, SandboxInbox
from aval.operations.deliver_message import Delivered, deliver_message, record_deliveries
from aval.operations.settle_transfer import RetryPolicy
from aval.ports import Delivery, OutgoingMessage
from aval.storage.database import Database
from aval.storage.messages import PromisedMessage, claim_messages
from tests.buyers import ENABLED, Buyer, id_of
from tests.factories import make_keyring
from tests.phones import Owner, key_of
from tests.redemption_stage import RedemptionStage
from tests.stage import BREAKER

POLICY = RetryPolicy(gaps=(timedelta(0),), tries_max=5, lease=timedelta(seconds=30))


@dataclass
class Post:
    """A worker that brings messages to the inbox of the sandbox, and keeps what it brought."""

    db: Database
    sent: list[OutgoingMessage] = field(default_factory=list)

    async def send(self, message: OutgoingMessage) -> Delivery:
        self.sent.append(message)
        return await SandboxInbox().send(message)

    async def close(self) -> None:
        raise AssertionError

    async def claim(self, *, lease: timedelta = POLICY.lease) -> list[PromisedMessage]:
        async with self.db.connection() as connection:
            return await claim_messages(connection, most=50, lease=lease)

    async def deliver(self, message: PromisedMessage) -> Delivered:
        return await deliver_message(message=message, keyring=make_keyring(), channel_of=lambda *_: self, policy=POLICY)

    async def carry(self) -> list[str]:
        """Bring all that is due, and tell how each try ended."""
        done = [await self.deliver(message) for message in await self.claim()]
        await record_deliveries(self.db, deliveries=done, breaker=BREAKER)
        return [delivery.state for delivery in done]

    @property
    def texts(self) -> list[tuple[str, str]]:
        return [(message.destination, message.text) for message in self.sent]


@pytest.fixture
async def post(db_as: Callable[[str], Awaitable[Database]]) -> Post:
    return Post(await db_as("aval_app_notify"))


@pytest.fixture
async def owner(own_redemptions: RedemptionStage) -> Owner:
    return await Owner.make(own_redemptions)


async def delivery_of(owner: Owner, device: Any) -> str:
    items = (await owner.ask("GET", "")).json["items"]
    return str(next(item["approval"]["delivery"] for item in items if UUID(item["id"]) == key_of(device)))


async def test_the_token_goes_to_the_number_that_is_registered(owner: Owner, post: Post) -> None:
    made = await owner.register("+5511987651234")
    assert await delivery_of(owner, made) == "queued"
    assert await post.carry() == ["delivered"]
    token = await owner.token(made)
    text = f"Clube Exemplo: confirme este celular como seu dispositivo de seguranca. Codigo 1: {token}"
    assert post.texts == [("+5511987651234", text)]
    assert await delivery_of(owner, made) == "sent"


async def test_the_token_of_a_replacement_goes_to_the_former_number(owner: Owner, post: Post) -> None:
    await owner.activate("+5511987651234")
    made = await owner.register("+5511987655678")
    await owner.validate(made)
    await post.carry()
    post.sent.clear()
    await owner.shift(made, timedelta(seconds=30))
    assert (await owner.resend(made)).status == 202
    await post.carry()
    ((destination, text),) = post.texts
    assert destination == "+5511987651234" and text.endswith(f"Codigo 2: {await owner.token(made)}")
    assert (await owner.validate(made)).status == 201
    post.sent.clear()
    assert await post.carry() == ["delivered"]
    ((destination, text),) = post.texts
    assert destination == "+5511987651234" and "foi trocado por outro celular" in text
    assert await owner.token(made) not in text


async def test_a_token_that_was_overtaken_is_not_sent(owner: Owner, post: Post) -> None:
    await owner.register()
    newer = await owner.register()
    assert sorted(await post.carry()) == ["delivered", "void"]
    ((_, text),) = post.texts
    assert text.endswith(await owner.token(newer))


async def test_a_purchase_is_told_in_the_words_of_its_policy(own_redemptions: RedemptionStage, post: Post) -> None:
    words = "[vendors]/[points]/[campaign] ([generation]) [token]"
    buyer = await Buyer.make(own_redemptions, policy={**ENABLED, "message_template": words})
    items = [{"name": "x", "quantity": 1, "price": {"for": 100}, "vendor": {"id": v}} for v in ("viagens", "loja-sol")]
    made = await buyer.bought({"channel_type": "MOBILE", "items": items})
    await own_redemptions.policy(buyer.campaign, **ENABLED)  # later changes touch no purchase in flight
    await post.carry()
    destination, text = post.texts[-1]
    assert sorted(text.split("/")[0].split(", ")) == ["Loja Sol", "Viagens"]
    assert text.split("/", 1)[1] == f"200/Clube Exemplo (1) {await buyer.token(made)}"
    assert destination.endswith(buyer.device["masked_number"][-4:])


async def test_a_number_the_provider_refuses_is_marked_and_needs_another_registration(owner: Owner, post: Post) -> None:
    made = await owner.register(REFUSED_DESTINATION)
    assert await post.carry() == ["failed"]
    assert await delivery_of(owner, made) == "failed"
    await owner.shift(made, timedelta(seconds=30))
    refused = await owner.resend(made)
    assert (refused.status, refused.code) == (422, "11")
    (item,) = (await owner.ask("GET", "")).json["items"]
    assert item["undeliverable_at"] and item["status"] == "pending_verification"
    other = await owner.activate()
    assert "undeliverable_at" not in other


async def test_a_number_that_fails_twice_is_reached_in_the_end(owner: Owner, post: Post) -> None:
    made = await owner.register(FAILING_DESTINATION)
    assert [await post.carry() for _ in range(3)] == [["ready"], ["ready"], ["delivered"]]
    assert len({text for _, text in post.texts}) == 1
    assert await delivery_of(owner, made) == "sent"


async def test_a_purchase_whose_token_cannot_be_delivered_says_so_and_stays_pending(
    own_redemptions: RedemptionStage, post: Post
) -> None:
    buyer = await Buyer.make(own_redemptions, has_phone=False)
    device = await buyer.owner.activate(REFUSED_DESTINATION)
    await post.carry()
    assert await own_redemptions.value("select undeliverable_at from phone_devices") is None  # not live any more
    made = await buyer.bought()
    assert await post.carry() == ["failed"]
    seen = await buyer.read(made)
    assert (seen["status"], seen["approval"]["delivery"]) == ("pending_2fa_approval", "failed")
    events = await own_redemptions.fetch(
        "select event_type, sequence, correlation_id, body from events where operation_id = $1 order by sequence",
        UUID(id_of(made)),
    )
    assert [(event_type, sequence) for event_type, sequence, *_ in events] == [
        ("purchase.pending_2fa_approval", 1),
        ("purchase.token_delivery_failed", 2),
    ]
    assert events[1][2] == seen["origin_correlation_id"]
    assert all(word not in events[1][3] for word in ('"approval"', '"customer"', REFUSED_DESTINATION))
    await buyer.shift(made, timedelta(seconds=30))
    for reply in (await buyer.resend(made), await buyer.buy()):
        assert (reply.status, reply.code, reply.json["extra_fields"]["reason"]) == (422, "11", "phone_incorrect")
    assert (await buyer.owner.operate(device, "reset")).status == 200
    assert await buyer.balance() == (20_000, 0)


async def test_what_a_worker_claimed_before_it_was_killed_is_sent_by_another(owner: Owner, post: Post) -> None:
    made = await owner.register()
    (lost,) = await post.claim(lease=timedelta(0))
    assert await post.carry() == ["delivered"]
    late = await post.deliver(lost)  # the first one was only asleep: the same token, and its record does not count
    assert await record_deliveries(post.db, deliveries=[late], breaker=BREAKER) == [False]
    assert len({text for _, text in post.texts}) == 1 and post.texts[0][1].endswith(await owner.token(made))


async def test_a_message_dies_with_the_number_it_was_promised_to(
    owner: Owner, post: Post, own_redemptions: RedemptionStage
) -> None:
    active = await owner.activate()
    waiting = await owner.register()
    await owner.validate(waiting)
    await owner.remove(active)
    assert set(await post.carry()) == {"void", "delivered"}
    ((_, text),) = post.texts
    assert "nao e mais o dispositivo de seguranca" in text
    assert await own_redemptions.value("select count(*) from outbox where state = 'ready'") == 0


async def test_a_notice_to_a_number_that_was_erased_is_not_sent(owner: Owner, post: Post) -> None:
    await owner.activate("+5511987651234")
    await owner.activate("+5511987655678")
    path = f"/participants/{owner.person.key}/erase"
    erased = await owner.stage.call("POST", path, headers=await owner.stage.operator())
    assert erased.status == 200, erased.body
    assert set(await post.carry()) == {"void"} and post.sent == []
    assert await owner.stage.fetch(
        "select last_error, count(*) from outbox where payload ->> 'notice' is not null group by 1"
    ) == [("contact_erased", 1)]
