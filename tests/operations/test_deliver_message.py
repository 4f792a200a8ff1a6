"""Token messages: derived when sent, the same on every try, not sent once dead, told when refused for good."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from aval.domain.challenge import Verdict
from aval.domain.keyring import Keyring
from aval.domain.transfer import Payee
from aval.operations.confirm_transfer import Confirmed
from aval.operations.deliver_message import Delivered, deliver_message, record_deliveries
from aval.operations.settle_transfer import RetryPolicy
from aval.ports import Channel, Delivery, DeliveryOutcome, OutgoingMessage
from aval.storage.database import Database
from aval.storage.messages import PromisedMessage, claim_messages
from tests.batches import confirm, item, requested
from tests.factories import Party, make_contact, make_keyring
from tests.stage import BREAKER, RETRY, Stage, until, working

POLICY = RetryPolicy(gaps=(timedelta(seconds=1), timedelta(seconds=5)), tries_max=3, lease=timedelta(seconds=30))
DELIVERED, REFUSED = Delivery(DeliveryOutcome.DELIVERED), Delivery(DeliveryOutcome.REFUSED, "no_such_number")
FAILED = Delivery(DeliveryOutcome.FAILED, "timeout")


@dataclass
class Provider:
    """Says one thing to every message, and keeps what it was given."""

    delivery: Delivery = DELIVERED
    taken: list[OutgoingMessage] = field(default_factory=list)

    async def send(self, message: OutgoingMessage) -> Delivery:
        self.taken.append(message)
        return self.delivery

    async def close(self) -> None:
        raise AssertionError


@pytest.fixture
async def own_party(own_stage: Stage) -> Party:
    return await own_stage.party()


@pytest.fixture
async def notify_db(own_stage: Stage) -> Database:
    return await own_stage.open_as("aval_app_notify")


async def claim(db: Database, *, lease: timedelta = POLICY.lease) -> PromisedMessage:
    """The one message that is due."""
    async with db.connection() as connection:
        (message,) = await claim_messages(connection, most=10, lease=lease)
    return message


async def deliver(message: PromisedMessage, provider: Channel, keyring: Keyring | None = None) -> Delivered:
    return await deliver_message(
        message=message, keyring=keyring or make_keyring(), channel_of=lambda *_: provider, policy=POLICY
    )


async def record(db: Database, *deliveries: Delivered) -> Any:
    return await record_deliveries(db, deliveries=deliveries, breaker=BREAKER)


async def message_of(stage: Stage, key: UUID, generation: int = 1) -> tuple[Any, ...]:
    (row,) = await stage.fetch(
        "select state, claim_count, last_error, finished_at is not null from outbox"
        " where operation_id = $1 and generation = $2",
        key,
        generation,
    )
    return row


async def make_due(stage: Stage) -> None:
    await stage.execute("update outbox set due_at = clock_timestamp() where state = 'ready'")


async def test_a_message_reaches_its_contact_with_the_token_that_approves(
    own_stage: Stage, own_party: Party, notify_db: Database
):
    key = await own_stage.request(own_party)
    provider = Provider()
    assert await record(notify_db, await deliver(await claim(notify_db), provider)) == [True]
    (sent,) = provider.taken
    token = await own_stage.token(own_party, key)
    assert sent.destination == own_party.phone and sent.text.endswith(f": {token}") and sent.subject is None
    assert token not in repr(sent) and own_party.phone not in repr(sent)
    assert await message_of(own_stage, key) == ("delivered", 1, None, True)
    assert token not in str(await own_stage.fetch("select outbox::text from outbox"))
    assert (await own_stage.validate(own_party, key, token)).status == 202


async def test_the_message_of_a_batch_names_its_total_its_items_and_the_payee_of_the_largest(
    own_stage: Stage, own_party: Party, notify_db: Database
):
    asked = [item(80_50), item(1500_00, payee=Payee(name="Maria Souza", document=None)), item(42_00)]
    batch = (await requested(own_stage, own_party, items=tuple(asked))).transfer
    provider = Provider()
    await deliver(await claim(notify_db), provider)
    (sent,) = provider.taken
    assert sent.text.startswith("R$ 1.622,50 p/ Maria Souza +2, 3 itens, Pix em lote, cta ***")
    assert sent.text.endswith(f": {await own_stage.token(own_party, batch.key)}")
    confirmed = await confirm(own_stage, own_party, batch.key, sent.text[-6:])
    assert isinstance(confirmed, Confirmed) and confirmed.verdict is Verdict.APPROVED


async def test_a_token_does_not_follow_to_a_contact_that_was_taken_away(
    own_stage: Stage, own_party: Party, notify_db: Database
):
    key = await own_stage.request(own_party)
    await make_contact(own_stage.db, own_party.key, own_party.approver.key, "sms", "+5511987654321")
    provider = Provider()
    async with notify_db.connection() as connection:
        claimed = await claim_messages(connection, most=10, lease=POLICY.lease)
    tries = [await deliver(message, provider) for message in claimed]
    assert await record(notify_db, *tries) == [True, True]
    (notice,) = provider.taken
    assert notice.destination == own_party.phone and await own_stage.token(own_party, key) not in notice.text
    assert await message_of(own_stage, key) == ("void", 1, "contact_removed", True)
    await own_stage.shift(key, 30)
    assert (await own_stage.resend(own_party, key)).status == 202
    await deliver(await claim(notify_db), provider)
    assert provider.taken[-1].destination == "+5511987654321"


async def test_every_try_sends_the_same_token_later_and_later_until_it_is_parked(
    own_stage: Stage, own_party: Party, notify_db: Database
):
    key = await own_stage.request(own_party)
    provider, gaps = Provider(FAILED), []
    for _ in range(POLICY.tries_max):
        message = await claim(notify_db)
        await record(notify_db, await deliver(message, provider))
        gaps.append(await own_stage.value("select due_at from outbox") - message.now)
        await make_due(own_stage)
    assert gaps[:2] == list(POLICY.gaps)
    assert [message.try_number for message in provider.taken] == [1, 2, 3]
    assert len({(message.text, message.message_key) for message in provider.taken}) == 1
    assert await message_of(own_stage, key) == ("parked", 3, "timeout", True)
    assert await own_stage.events(key) == []


DEAD = {
    "superseded": "update challenges set generation = 2, alphabets = 'cc' where operation_id = $1",
    "expired": "update challenges set issued_at = issued_at - interval '5 min',"
    " expires_at = expires_at - interval '5 min' where operation_id = $1",
    "window over": "update challenges set approval_deadline = clock_timestamp() where operation_id = $1",
    "cancelled": "update challenges set status = 'cancelled' where operation_id = $1",
    "approved": "update challenges set status = 'pending' where operation_id = $1",
}


@pytest.mark.parametrize("case", DEAD)
async def test_a_dead_token_is_not_sent(own_stage: Stage, own_party: Party, notify_db: Database, case: str):
    key = await own_stage.request(own_party)
    await own_stage.execute(DEAD[case], key)
    provider = Provider()
    await record(notify_db, await deliver(await claim(notify_db), provider))
    assert provider.taken == [] and await message_of(own_stage, key) == ("void", 1, "not_live", True)


async def test_a_refusal_for_good_is_told_with_its_number(own_stage: Stage, own_party: Party, notify_db: Database):
    key = await own_stage.request(own_party, "ted")
    await record(notify_db, await deliver(await claim(notify_db), Provider(REFUSED)))
    assert await message_of(own_stage, key) == ("failed", 1, "no_such_number", True)
    assert await own_stage.events(key) == [(1, "aval.token_delivery.failed")]
    ((body,),) = await own_stage.fetch("select body::jsonb -> 'data' from events")
    assert body.pop("failed_at").endswith("Z")
    masked = await own_stage.value("select masked_destination from challenges")
    assert body == {
        "operation": "ted",
        "operation_key": str(key),
        "method": "sms",
        "generation": 1,
        "masked_destination": masked,
    }
    await own_stage.cancel(own_party, key, "ted")
    assert await own_stage.events(key) == [(1, "aval.token_delivery.failed"), (2, "baas.ted.outgoing_ted")]


async def test_a_refusal_of_a_token_nobody_waits_for_is_not_told(
    own_stage: Stage, own_party: Party, notify_db: Database
):
    key = await own_stage.request(own_party)
    refused = await deliver(await claim(notify_db), Provider(REFUSED))
    await own_stage.shift(key, 30)
    assert (await own_stage.resend(own_party, key)).status == 202
    await record(notify_db, refused)
    assert await own_stage.events(key) == [] and (await message_of(own_stage, key))[0] == "failed"


async def test_a_lost_lease_records_and_tells_nothing(own_stage: Stage, own_party: Party, notify_db: Database):
    key = await own_stage.request(own_party)
    refused = await deliver(await claim(notify_db, lease=timedelta(0)), Provider(REFUSED))
    await claim(notify_db)
    assert await record(notify_db, refused) == [False]
    assert await own_stage.events(key) == [] and (await message_of(own_stage, key))[:2] == ("ready", 2)


async def test_a_missing_key_is_tried_again_and_then_parked(own_stage: Stage, own_party: Party, notify_db: Database):
    key = await own_stage.request(own_party)
    await own_stage.execute("update challenges set kid = 'gone'")
    provider = Provider()
    for _ in range(POLICY.tries_max):
        await record(notify_db, await deliver(await claim(notify_db), provider))
        await make_due(own_stage)
    assert provider.taken == [] and await message_of(own_stage, key) == ("parked", 3, "key_missing", True)


async def channel(stage: Stage) -> tuple[Any, ...]:
    (row,) = await stage.fetch(
        "select consecutive_failures, closed_until > clock_timestamp() from channel_states where channel = 'sms'"
    )
    return row


async def test_failures_in_a_row_close_the_channel_and_a_success_opens_it(own_stage: Stage, notify_db: Database):
    live = await own_stage.party(mode="live", ted_hours=False, budgets=False)
    for failures in range(1, BREAKER.failures_max + 1):
        await own_stage.request(live)
        await record(notify_db, await deliver(await claim(notify_db), Provider(FAILED)))
        assert await channel(own_stage) == (failures, True if failures == BREAKER.failures_max else None)
    assert (await own_stage.create(live)).code == "PXT000910"
    await make_due(own_stage)
    async with notify_db.connection() as connection:
        late, *_ = await claim_messages(connection, most=10, lease=POLICY.lease)
    await record(notify_db, await deliver(late, Provider()))
    assert await channel(own_stage) == (0, None)
    assert (await own_stage.create(live)).status == 202


async def test_the_sandbox_and_refusals_do_not_count_as_failures_of_the_channel(
    own_stage: Stage, own_party: Party, notify_db: Database
):
    await own_stage.request(own_party)
    await record(notify_db, await deliver(await claim(notify_db), Provider(FAILED)))
    live = await own_stage.party(mode="live", ted_hours=False, budgets=False)
    await own_stage.request(live)
    await record(notify_db, await deliver(await claim(notify_db), Provider(REFUSED)))
    assert await channel(own_stage) == (0, None)


async def test_what_the_sandbox_delivers_says_nothing_about_the_channel(
    own_stage: Stage, own_party: Party, notify_db: Database
):
    live = await own_stage.party(mode="live", ted_hours=False, budgets=False)
    for failures in (1, 2):
        await own_stage.request(live)
        failed = await deliver(await claim(notify_db), Provider(FAILED))
        await own_stage.request(own_party)
        await record(notify_db, failed, await deliver(await claim(notify_db), Provider()))
        assert (await channel(own_stage))[0] == failures


async def deliveries(stage: Stage) -> Mapping[str, int]:
    rows = await stage.fetch("select state, count(*) from outbox group by state")
    return dict(rows)


async def test_the_two_odd_destinations_of_the_sandbox(own_stage: Stage, own_party: Party):
    other = await own_stage.party()
    await make_contact(own_stage.db, own_party.key, own_party.approver.key, "sms", "+5511900000001")
    await make_contact(own_stage.db, other.key, other.approver.key, "sms", "+5511900000002")
    await own_stage.execute("delete from outbox where topic = 'notice'")
    refused, late = await own_stage.request(own_party), await own_stage.request(other)
    quick = replace(RETRY, gaps=(timedelta(milliseconds=50),))
    async with working(await own_stage.worker(retry=quick)):

        async def are_over() -> bool:
            return "ready" not in await deliveries(own_stage)

        await until(are_over)
    assert (await message_of(own_stage, refused))[:2] == ("failed", 1)
    assert (await message_of(own_stage, late))[:2] == ("delivered", 3)
    assert await own_stage.events(refused) == [(1, "aval.token_delivery.failed")]
    inbox = await own_stage.call(own_party, "GET", "/sandbox/inbox")
    assert [row["delivery_status"] for row in inbox.json["data"]] == ["failed"]


async def test_one_message_that_cannot_be_made_is_parked_and_stops_no_other(own_stage: Stage, own_party: Party):
    broken, sound = await own_stage.request(own_party), await own_stage.request(own_party)
    async with own_stage.db.transaction() as connection:
        await connection.execute("set local session_replication_role = replica")
        await connection.execute("update outbox set generation = 99 where operation_id = $1", broken)
        await connection.execute("alter table challenges drop constraint challenges_check")
        await connection.execute(
            "update challenges set generation = 99, alphabets = 'c' where operation_id = $1", broken
        )
    quick = replace(RETRY, gaps=(timedelta(milliseconds=20),), tries_max=3)
    async with working(await own_stage.worker(retry=quick)):

        async def are_over() -> bool:
            return await deliveries(own_stage) == {"delivered": 1, "parked": 1}

        await until(are_over)
    assert await message_of(own_stage, broken, 99) == ("parked", 3, "failed:IndexError", True)
    assert (await message_of(own_stage, sound))[0] == "delivered"


async def test_one_message_that_cannot_be_recorded_stops_no_other(own_stage: Stage, own_party: Party):
    keys = await own_stage.requests(own_party, 4)
    await own_stage.execute(f"alter table outbox add check (operation_id <> '{keys[1]}' or state = 'ready')")
    async with working(await own_stage.worker()):

        async def are_delivered() -> bool:
            return (await deliveries(own_stage)).get("delivered") == 3

        await until(are_delivered)
    assert (await message_of(own_stage, keys[1]))[:2] == ("ready", 1)


async def test_many_workers_deliver_each_message_once(own_stage: Stage, own_party: Party):
    await own_stage.requests(own_party, 40)
    provider = Provider()
    workers = [await own_stage.worker(channel_of=lambda *_: provider) for _ in range(3)]
    async with working(workers[0]), working(workers[1]), working(workers[2]):

        async def are_delivered() -> bool:
            return await deliveries(own_stage) == {"delivered": 40}

        await until(are_delivered)
    assert len({message.message_key for message in provider.taken}) == len(provider.taken) == 40
