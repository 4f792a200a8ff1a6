"""What hangs on a security device ends with it: purchases, documents, budgets, and in the end its number."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from aval.domain.budget import BudgetFigures
from aval.domain.phone import TRANSITIONS, PhoneStatus
from aval.operations.erase_phones import erase_phones
from aval.operations.expire_window import expire_windows
from aval.storage.database import Database
from aval.storage.participants import guard_participants
from tests.buyers import ENABLED, Buyer
from tests.factories import AUTHOR, make_keyring
from tests.phones import Owner, key_of
from tests.redemption_stage import RedemptionStage, reason_of


async def test_a_replaced_device_takes_its_pending_purchases_with_it(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions)
    purchase, owner = await buyer.bought(), buyer.owner
    token = await buyer.token(purchase)
    waiting = await owner.register()
    await owner.validate(waiting)
    assert (await buyer.read(purchase))["status"] == "pending_2fa_approval"  # nothing has changed yet
    assert (await owner.validate(waiting)).status == 201
    ended = await buyer.read(purchase)
    assert (ended["status"], ended["rejection_reason"]) == ("rejected", "device_changed")
    assert await buyer.balance() == (20_000, 0)
    assert (await buyer.validate(purchase, token)).code == "RDM000086"
    assert await buyer.ledger(purchase) == ["reserve", "release"]
    refused = await buyer.buy()
    assert (refused.status, refused.code) == (422, "RDM000919")
    active_from = await redemptions.value("select active_from from phone_devices where device_id = $1", key_of(waiting))
    assert (
        refused.json["extra_fields"]["available_at"]
        == f"{active_from:%Y-%m-%dT%H:%M:%S}.{active_from.microsecond // 1000:03d}Z"
    )


@pytest.mark.parametrize("act", ["remove", "block", "reset"])
async def test_a_device_that_goes_takes_its_pending_purchases_with_it(redemptions: RedemptionStage, act: str) -> None:
    buyer = await Buyer.make(redemptions)
    purchases = [await buyer.bought() for _ in range(2)]
    done = await (buyer.owner.remove(buyer.device) if act == "remove" else buyer.owner.operate(buyer.device, act))
    assert done.status in (200, 204)
    for purchase in purchases:
        ended = await buyer.read(purchase)
        assert (ended["status"], ended["rejection_reason"]) == ("rejected", "device_changed")
        assert await buyer.told(purchase) == ["pending_2fa_approval", "rejected"]
    assert await buyer.balance() == (20_000, 0)
    refused = await buyer.buy()
    assert (refused.code, refused.json["extra_fields"]["missing"]) == ("RDM000911", ["device"])


async def test_purchases_of_others_and_without_a_second_factor_stay(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions, policy={**ENABLED, "applies_to": ["internal"]})
    other = await Buyer.make(redemptions, campaign=buyer.campaign, application=buyer.application)
    authorized, foreign = await buyer.authorize(), await other.bought()
    assert (await buyer.owner.operate(buyer.device, "reset")).status == 200
    assert (await buyer.read(authorized))["status"] == "authorized"
    assert (await other.read(foreign))["status"] == "pending_2fa_approval"


async def test_a_purchase_is_approved_or_ends_with_its_device_and_never_both(redemptions: RedemptionStage) -> None:
    for round_no in range(6):
        buyer = await Buyer.make(redemptions)
        purchase = await buyer.bought()
        token = await buyer.token(purchase)
        calls: list[Any] = [buyer.validate(purchase, token), buyer.owner.operate(buyer.device, "block")]
        if round_no % 2:
            calls.reverse()
        replies = await asyncio.gather(*calls)
        if round_no % 2:
            replies.reverse()
        assert replies[1].status == 200
        ended = await buyer.read(purchase)
        if replies[0].status == 201:
            assert ended["status"] == "confirmed" and await buyer.ledger(purchase) == ["reserve", "debit"]
            assert await buyer.balance() == (12_000, 0)
        else:
            assert (replies[0].code, ended["rejection_reason"]) == ("RDM000086", "device_changed")
            assert await buyer.ledger(purchase) == ["reserve", "release"]
            assert await buyer.balance() == (20_000, 0)


async def test_onboarding_is_complete_once_for_each_time_it_becomes_so(redemptions: RedemptionStage) -> None:
    owner = await Owner.make(redemptions, document_policy="none")
    active = await owner.activate()
    await owner.operate(active, "block")
    await owner.operate(active, "unblock")
    told = await redemptions.fetch(
        "select event_type, sequence from events where operation_id = $1 order by sequence", owner.person.key
    )
    assert told == [("onboarding.completed", 1), ("onboarding.completed", 2)]


@pytest.mark.parametrize("act", ["remove", "reset", "block"])
async def test_documents_that_were_approved_are_asked_for_again(redemptions: RedemptionStage, act: str) -> None:
    owner = await Owner.make(redemptions, required_documents=["identity"])
    active = await owner.activate()
    document = uuid4()
    await redemptions.execute(
        "insert into identity_documents (integrator_id, document_id, participant_id, document_type, status, attempt,"
        " decision, decided_by, decided_at, submitted_at, created_at, updated_at)"
        " values ($1, $2, $3, 'passport', 'approved', 1, 'approve', 'admin:x', now(), now(), now(), now())",
        owner.campaign.key,
        document,
        owner.person.key,
    )
    done = await (owner.remove(active) if act == "remove" else owner.operate(active, act))
    assert done.status in (200, 204)
    found = await redemptions.fetch(
        "select status, reason_code from identity_documents where document_id = $1", document
    )
    assert found == [("approved", None) if act == "block" else ("resubmission_requested", "device_reset")]


async def test_a_live_campaign_has_budgets_for_messages_and_operations(redemptions: RedemptionStage) -> None:
    owner = await Owner.make(redemptions, await redemptions.campaign(mode="live"), resend_interval_seconds=10)
    made = await owner.register()
    figures = BudgetFigures()
    for _ in range(figures.approver_unanswered_10min_max - 1):
        await redemptions.execute(
            "update challenges set can_resend_at = issued_at, resends_left = 5 where operation_id = $1", key_of(made)
        )
        assert (await owner.resend(made)).status == 202
    refused = await owner.register()
    assert (refused.status, refused.code, reason_of(refused)) == (429, "RDM000929", "message_limit")
    assert 0 < int(refused.headers["retry-after"]) <= 600
    assert await owner.status(made) == ("pending_verification", None)  # refused, so nothing was overtaken
    assert (await owner.wrong(made)).code == "RDM000084"  # an answer makes room
    assert (await owner.register()).status == 202


async def test_a_replacement_in_a_live_campaign_needs_room_for_its_second_message(
    redemptions: RedemptionStage,
) -> None:
    owner = await Owner.make(redemptions, await redemptions.campaign(mode="live"))
    await owner.activate()
    made = await owner.register()
    await redemptions.execute(
        "insert into outbox (integrator_id, message_id, topic, operation_id, generation, approver_id, contact_id,"
        " channel, correlation_id, due_at, created_at, state, finished_at)"
        " select integrator_id, gen_random_uuid(), topic, operation_id, generation, approver_id, contact_id, channel,"
        " correlation_id, due_at, created_at, 'void', now() from outbox, generate_series(1, $2)"
        " where operation_id = $1",
        key_of(made),
        BudgetFigures().approver_messages_24h_max,
    )
    refused = await owner.validate(made)
    assert (refused.status, refused.code, reason_of(refused)) == (429, "RDM000929", "message_limit")
    assert await redemptions.value("select count(*) from comparisons where operation_id = $1", key_of(made)) == 0
    await redemptions.execute("delete from outbox where state = 'void' and operation_id = $1", key_of(made))
    waiting = await owner.validate(made)
    assert (waiting.status, waiting.json["status"]) == (202, "pending_replacement")
    assert (await owner.validate(made)).status == 201


async def test_a_number_gets_twenty_token_messages_a_day_whoever_registers_it(redemptions: RedemptionStage) -> None:
    first = await Owner.make(redemptions, await redemptions.campaign(mode="live"))
    number = "+5511987650020"
    made = await first.register(number)
    await redemptions.execute(
        "insert into outbox (integrator_id, message_id, topic, operation_id, generation, approver_id, contact_id,"
        " channel, correlation_id, due_at, created_at, state, finished_at)"
        " select integrator_id, gen_random_uuid(), topic, operation_id, generation, approver_id, contact_id, channel,"
        " correlation_id, due_at, created_at - interval '1 hour', 'delivered', now()"
        " from outbox, generate_series(1, 19) where operation_id = $1",
        key_of(made),
    )
    second = await Owner.make(redemptions, first.campaign, first.application)
    refused = await second.register(number)
    assert (refused.status, refused.code) == (429, "RDM000904")
    assert 82_000 < int(refused.headers["retry-after"]) <= 82_800
    assert (await second.register()).status == 202


async def test_a_locked_participant_gets_no_tokens_at_all(redemptions: RedemptionStage) -> None:
    owner = await Owner.make(redemptions, await redemptions.campaign(mode="live"))
    for _ in range(2):  # exhausted within 24 hours
        made = await owner.register()
        for _ in range(5):
            await owner.wrong(made)
    refused = await owner.register()
    assert (refused.status, refused.code, reason_of(refused)) == (429, "RDM000929", "approver_locked")
    free = await Owner.make(redemptions)
    for _ in range(3):
        made = await free.register()
        for _ in range(5):
            await free.wrong(made)
    assert (await free.register()).status == 202  # the sandbox has no budgets


async def test_the_sweep_ends_registrations_nobody_asked_about(
    own_redemptions: RedemptionStage, db_as: Callable[[str], Awaitable[Database]]
) -> None:
    owner, other = [await Owner.make(own_redemptions) for _ in range(2)]
    made, in_time = await owner.register(), await other.register()
    former = await other.activate()
    waiting = await other.register()
    assert (await other.validate(waiting)).status == 202
    for device, each in ((made, owner), (waiting, other)):
        await each.shift(device, timedelta(hours=1))
    assert await expire_windows(await db_as("aval_app_settle"), most=10) == (2, 0)
    for device, each in ((made, owner), (waiting, other)):
        assert await each.status(device) == ("failed", "approval_window_expired")
        assert await each.events(device) == ["device.failed"]
        assert (await each.acts(device))[-1] == "device.failed"
    assert await other.status(in_time) == ("failed", "superseded")
    assert await other.status(former) == ("active", None)
    origins = await own_redemptions.fetch(
        "select o.correlation_id = e.correlation_id from events e join operations o using (integrator_id, operation_id)"
        " where e.operation_id = $1",
        key_of(made),
    )
    assert origins == [(True,)]


@pytest.mark.parametrize("is_proven", [False, True])
async def test_an_erased_number_is_nowhere_any_more(
    own_redemptions: RedemptionStage, db_as: Callable[[str], Awaitable[Database]], is_proven: bool
) -> None:
    owner = await Owner.make(own_redemptions)
    former = await owner.activate("+5511987650001")
    waiting = await owner.register("+5511987650002")
    if is_proven:  # then the former one was sent a token, too
        assert (await owner.validate(waiting)).status == 202
    before = await own_redemptions.fetch("select number_index from phone_devices order by device_id")
    api = await db_as("aval_app_api")
    async with api.transaction() as connection:
        await guard_participants(connection, [(owner.campaign.key, owner.person.key)])
        await erase_phones(
            connection,
            tenant_key=owner.campaign.key,
            participant_key=owner.person.key,
            keyring=make_keyring(),
            author=AUTHOR,
        )
    assert await owner.status(former) == ("removed", None)
    assert await owner.status(waiting) == ("failed", "device_changed")
    after = await own_redemptions.fetch("select number_index from phone_devices order by device_id")
    assert not set(before) & set(after)
    full = await own_redemptions.call("GET", f"/devices/{former['id']}", headers=await own_redemptions.operator())
    assert full.json["masked_number"] == "+55 ** *****-****" and "number" not in full.json
    assert await owner.notices(former) == []
    inbox = await own_redemptions.call(
        "GET", "/sandbox/inbox", headers=own_redemptions.as_application(owner.application)
    )
    assert {row["destination"] for row in inbox.json["data"]} == {"+55 ** *****-****"}
    other = await Owner.make(own_redemptions, owner.campaign, owner.application)
    assert (await other.activate("+5511987650001"))["status"] == "active"
    await own_redemptions.execute(
        "update participants set erased_at = now(), profile_sealed = null where participant_id = $1", owner.person.key
    )
    gone = await owner.register()
    assert (gone.status, gone.code) == (404, "113")


async def test_the_schema_repeats_the_table_of_states(own_redemptions: RedemptionStage) -> None:
    owner = await Owner.make(own_redemptions)
    made = await owner.activate()
    columns = {
        PhoneStatus.FAILED: "failure_reason = 'superseded', replaced_by = null",
        PhoneStatus.REPLACED: f"failure_reason = null, replaced_by = '{made['id']}'",
    }
    other = "failure_reason = null, replaced_by = null"
    for before in PhoneStatus:
        for after in PhoneStatus:
            if before is after:
                continue
            allowed = await moves(
                own_redemptions, made["id"], before, after, columns.get(before, other), columns.get(after, other)
            )
            assert allowed == (after in TRANSITIONS[before]), (before, after)


async def moves(stage: RedemptionStage, key: str, before: str, after: str, of_before: str, of_after: str) -> bool:
    """Whether the schema lets a device move so; it is put into its state without the trigger, and taken back."""
    try:
        async with stage.db.transaction() as connection:
            await connection.execute("set local session_replication_role = replica")
            await connection.execute(
                f"update phone_devices set status = '{before}', {of_before} where device_id = $1",  # noqa: S608
                UUID(key),
            )
            await connection.execute("set local session_replication_role = origin")
            await connection.execute(
                f"update phone_devices set status = '{after}', {of_after} where device_id = $1",  # noqa: S608
                UUID(key),
            )
            raise _Undone
    except _Undone:
        return True
    except Exception as error:  # noqa: BLE001 – judged by its text
        assert "status" in str(error)
        return False


class _Undone(Exception):
    """The move was let through; it is rolled back."""
