"""GET …/onboarding, and the one event that tells it is complete (redemptions.md §3.3, §9)."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from aval.operations.ask_documents_again import ask_documents_again
from aval.operations.tell_onboarded import tell_onboarded
from aval.storage.onboarding import read_onboarding
from aval.storage.participants import guard_participants
from tests.document_actors import Sender
from tests.redemption_stage import RedemptionStage


async def give_device(sender: Sender, status: str = "active") -> None:
    """A device as if its token had been right, and what that call then does."""
    device, tenant, person = uuid4(), sender.campaign.key, sender.person.key
    number = device.bytes * 2
    execute = sender.stage.execute
    await execute("insert into phone_numbers (integrator_id, number_index) values ($1, $2)", tenant, number)
    await execute(
        "insert into contacts (integrator_id, contact_id, approver_id, contact_type, destination_sealed,"
        " masked_destination, usable_at, created_at) values ($1, $2, $3, 'device', '\\x00', '+55 11 *****-1234',"
        " now(), now())",
        tenant,
        device,
        person,
    )
    await execute(
        "insert into phone_devices (integrator_id, device_id, participant_id, number_index, masked_number, status,"
        " policy_version, verified_at, active_from, created_at, updated_at)"
        " values ($1, $2, $3, $4, '+55 11 *****-1234', $5, 1, now(), now(), now(), now())",
        tenant,
        device,
        person,
        number,
        status,
    )
    async with sender.stage.db.transaction() as connection:
        await guard_participants(connection, [(tenant, person)])
        await tell_onboarded(connection, tenant_key=tenant, participant_key=person, correlation_id="tests")


async def completions(sender: Sender) -> int:
    return int(
        await sender.stage.value(
            "select count(*) from events where operation_id = $1 and event_type = 'onboarding.completed'",
            sender.person.key,
        )
    )


async def state(sender: Sender) -> tuple[str, list[str], bool]:
    told = await sender.onboarding()
    return told["status"], told["missing"], told["can_redeem"]


async def test_a_participant_goes_from_nothing_to_complete(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions, enabled=True)
    assert await state(sender) == ("not_started", ["device", "identity", "selfie"], False)
    identity = await sender.submitted("rg", "front", "back")
    assert await state(sender) == ("device_pending", ["device", "identity", "selfie"], False)
    await give_device(sender)
    assert await state(sender) == ("documents_pending", ["identity", "selfie"], False)
    selfie = await sender.submitted("selfie")
    assert (await state(sender))[0] == "in_review"
    await sender.decided(identity, "approve")
    assert await state(sender) == ("in_review", ["selfie"], False)
    assert await completions(sender) == 0
    await sender.decided(selfie, "approve")
    assert await state(sender) == ("complete", [], True)
    assert await completions(sender) == 1
    told = await sender.onboarding()
    assert told["device"]["masked_number"] == "+55 11 *****-1234"
    assert [document["type"] for document in told["documents"]] == ["rg", "selfie"]


async def test_the_device_may_be_what_completes_it(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions, enabled=True, required_documents=["selfie"])
    document = await sender.submitted("selfie")
    await sender.decided(document, "approve")
    assert await completions(sender) == 0
    await give_device(sender)
    assert await completions(sender) == 1


async def test_it_is_told_again_only_after_it_was_lost(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions, enabled=True, required_documents=["selfie"])
    await give_device(sender)
    document = await sender.submitted("selfie")
    await sender.decided(document, "approve")
    extra = await sender.submitted("proof_of_address")
    await sender.decided(extra, "approve")
    assert await completions(sender) == 1
    async with redemptions.db.transaction() as connection:
        owner: dict[str, Any] = {"tenant_key": sender.campaign.key, "participant_key": sender.person.key}
        await guard_participants(connection, [(sender.campaign.key, sender.person.key)])
        await ask_documents_again(connection, **owner, actor="admin:tests", correlation_id="tests")
    assert (await state(sender))[0] == "resubmission_requested"
    await sender.put(document, "single")
    await sender.submit(document)
    await sender.decided(document, "approve")
    assert await completions(sender) == 2


async def test_what_is_submitted_suffices_where_the_policy_says_so(redemptions: RedemptionStage):
    rules = {"document_policy": "submitted", "required_documents": ["selfie"]}
    sender = await Sender.make(redemptions, enabled=True, **rules)
    await give_device(sender)
    await sender.submitted("selfie")
    assert await state(sender) == ("in_review", [], True)


async def test_a_blocked_device_counts_as_none(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions, enabled=True, document_policy="none")
    await give_device(sender, "blocked")
    assert await state(sender) == ("device_pending", ["device"], False)


async def test_the_operator_reads_it_with_notes(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    document = await sender.submitted()
    await sender.decided(document, "reject", "altered", internal_note="outra pessoa")
    path = f"/participants/{sender.person.key}/onboarding"
    told = await redemptions.call("GET", path, headers=sender.reviewer)
    assert (told.json["status"], told.json["documents"][0]["internal_note"]) == ("rejected", "outra pessoa")
    unknown = await redemptions.call("GET", f"/participants/{uuid4()}/onboarding", headers=sender.reviewer)
    assert (unknown.status, unknown.code) == (404, "113")


async def test_many_are_read_in_one_statement(redemptions: RedemptionStage):
    first = await Sender.make(redemptions)
    second = await Sender.make(redemptions, first.campaign)
    stranger = await Sender.make(redemptions)
    await first.submitted("selfie")
    everyone = [(each.campaign.key, each.person.key) for each in (first, second, stranger)]
    async with redemptions.db.connection() as connection:
        facts = await read_onboarding(connection, [*everyone, (first.campaign.key, stranger.person.key)])
        assert await read_onboarding(connection, []) == {}
    assert facts.keys() == set(everyone)
    assert [len(facts[each].documents) for each in everyone] == [1, 0, 0]


async def test_purged_files_change_nothing(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions, enabled=True, required_documents=["selfie"])
    await give_device(sender)
    document = await sender.submitted("selfie")
    await sender.decided(document, "approve")
    before = await state(sender)
    await redemptions.execute(
        "update identity_documents set purged_at = now(), decided_at = decided_at - $2::interval"
        " where integrator_id = $1",
        sender.campaign.key,
        timedelta(days=90),
    )
    assert await state(sender) == before == ("complete", [], True)
