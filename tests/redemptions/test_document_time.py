"""What time and other calls do to documents: races, expiry, retention, erasure, objects left over (§3.2)."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from aval.domain.file_cipher import FileTampered, decrypted, place_of_file, place_of_key
from aval.domain.identity_document import IdentityDocument
from aval.domain.keyring import Key, KeyMissing, Keyring, Purpose
from aval.operations import decide_document, read_document_file, sweep_documents
from aval.operations.ask_documents_again import ask_documents_again
from aval.operations.destroy_documents import destroy_documents
from aval.operations.sweep_documents import (
    collect_objects,
    expire_documents,
    forget_drafts,
    purge_documents,
    renew_seals,
)
from aval.operations.upload_document import guard_living
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.document_objects import UNCLAIMED_FOR
from aval.storage.document_store import DocumentStore
from aval.storage.document_sweeps import Due, guard_owners
from aval.storage.identity_documents import destroy_files, find_document
from aval.storage.participants import guard_participants
from tests.document_actors import Sender
from tests.factories import KeyringHolder, make_keyring
from tests.hostile_files import picture
from tests.redemption_stage import RedemptionStage

MOST = 50


@pytest.fixture
async def worker(own_redemptions: RedemptionStage, db_as: Callable[..., Any]) -> Database:
    """The role under which a worker does its housekeeping."""
    opened: Database = await db_as("aval_app_settle")
    return opened


@pytest.fixture
async def sender(own_redemptions: RedemptionStage) -> Sender:
    return await Sender.make(own_redemptions)


def store_of(sender: Sender) -> DocumentStore:
    assert sender.stage.parts.files is not None
    return sender.stage.parts.files.store


def objects_on_disk(sender: Sender) -> list[Path]:
    """Every file in the store's directory."""
    return [path for path in store_of(sender)._directory().rglob("*") if path.is_file()]


async def shift(sender: Sender, table: str, column: str, by: timedelta) -> None:
    """Let time pass for everything of a campaign in a table."""
    await sender.stage.execute(
        f"update {table} set {column} = {column} - $2::interval where integrator_id = $1", sender.campaign.key, by
    )


async def test_of_two_decisions_at_once_one_counts(sender: Sender):
    document = await sender.submitted()
    told = await asyncio.gather(
        sender.decide(document, "approve"),
        sender.decide(document, "reject", "altered"),
        sender.decide(document, "request_resubmission", "blurry"),
    )
    assert sorted(reply.status for reply in told) == [200, 409, 409]
    assert {reply.code for reply in told if reply.status == 409} == {"RDM000912"}
    assert len(await sender.events(document)) == 2


async def test_a_decision_and_an_erasure_at_once_are_one_after_the_other(sender: Sender):
    document = await sender.submitted()
    path = f"/participants/{sender.person.key}/erase"
    decided, erased = await asyncio.gather(
        sender.decide(document, "approve"), sender.stage.call("POST", path, headers=sender.reviewer)
    )
    assert erased.status == 200, erased.body
    assert (decided.status, decided.code) in ((200, None), (404, "113"))
    assert (await sender.view(document)).status == 404
    assert (await sender.decide(document, "reject", "altered")).status in (404, 409)


async def test_an_upload_and_a_submission_at_once_leave_no_file_a_reviewer_did_not_get(sender: Sender):
    document = (await sender.post()).json["id"]
    uploaded, submitted = await asyncio.gather(sender.put(document, "single"), sender.submit(document))
    assert submitted.status == 200
    assert uploaded.status in (200, 409)
    version = await sender.stage.value("select version from document_files where document_id = $1", UUID(document))
    assert version == (2 if uploaded.status == 200 else 1)
    acts = await sender.acts(document)
    assert acts[-1] == "document.submitted"


async def test_two_uploads_of_a_side_at_once_leave_one_file_and_one_object(sender: Sender, worker: Database):
    document = (await sender.post()).json["id"]
    told = await asyncio.gather(*(sender.put(document, "single") for _ in range(3)))
    assert [reply.status for reply in told] == [200] * 3
    assert await collect_objects(worker, store_of(sender), most=MOST) == 3
    assert len(objects_on_disk(sender)) == 1
    assert (await sender.view(document)).status == 200


async def test_two_drafts_of_a_type_at_once_are_one_draft(sender: Sender):
    told = await asyncio.gather(*(sender.post("rg", "front") for _ in range(3)))
    assert sorted(reply.status for reply in told) == [201, 409, 409]


async def test_a_replaced_file_is_destroyed(sender: Sender, worker: Database):
    document = (await sender.post()).json["id"]
    (former,) = objects_on_disk(sender)
    told = await sender.put(document, "single", picture("PNG"))
    assert told.json["files"][0]["media_type"] == "image/png"
    assert await collect_objects(worker, store_of(sender), most=MOST) == 1
    (latter,) = objects_on_disk(sender)
    assert former != latter
    assert await sender.stage.value("select count(*) from document_objects") == 1


async def test_an_object_whose_upload_was_killed_before_its_row_is_collected(sender: Sender, worker: Database):
    document = (await sender.post()).json["id"]
    await sender.stage.execute("revoke insert on identity_documents from aval_app_api")
    assert (await sender.post("selfie")).status == 500
    sender.stage.faults.clear()
    await sender.stage.execute("grant insert on identity_documents to aval_app_api")
    assert len(objects_on_disk(sender)) == 2
    assert await collect_objects(worker, store_of(sender), most=MOST) == 0  # it may still be on its way
    await shift(sender, "document_objects", "due_at", UNCLAIMED_FOR)
    assert await collect_objects(worker, store_of(sender), most=MOST) == 1
    assert len(objects_on_disk(sender)) == 1
    assert (await sender.view(document)).status == 200
    assert (await sender.post("selfie")).status == 201


async def test_an_object_that_was_collected_is_not_taken_into_use(sender: Sender, worker: Database):
    files = sender.stage.parts.files
    assert files is not None
    take = files.store.put

    async def late(*arguments: Any) -> None:
        await take(*arguments)
        await shift(sender, "document_objects", "due_at", UNCLAIMED_FOR)
        await collect_objects(worker, files.store, most=MOST)

    files.store.put = late  # type: ignore[method-assign]
    told = await sender.post()
    assert (told.status, told.code) == (503, "120")
    sender.stage.faults.clear()
    assert await sender.stage.value("select count(*) from identity_documents") == 0


async def test_a_store_that_is_away_is_told_and_leaves_nothing(sender: Sender):
    directory = store_of(sender)._directory()
    assert (await sender.post()).status == 201
    directory.rename(directory.with_name("away"))
    directory.write_text("not a directory")
    told = await sender.post("selfie")
    assert (told.status, told.code) == (503, "120")
    sender.stage.faults.clear()
    assert await sender.stage.value("select count(*) from identity_documents") == 1


@pytest.mark.parametrize(("zone", "is_over"), [("America/Sao_Paulo", True), ("Pacific/Kiritimati", True)])
async def test_a_document_expires_the_day_after_in_its_campaign_s_zone(
    own_redemptions: RedemptionStage, worker: Database, zone: str, is_over: bool
):
    sender = await Sender.make(own_redemptions, await own_redemptions.campaign(timezone=zone))
    today = await own_redemptions.value("select (clock_timestamp() at time zone $1)::date", zone)
    document = await sender.submitted()
    await sender.decided(document, "approve", expires_on=today.isoformat())
    await expire_documents(worker, most=MOST)
    assert await sender.status(document) == ("approved", 1)
    await own_redemptions.execute("update identity_documents set expires_on = expires_on - 1")
    await expire_documents(worker, most=MOST)
    assert (await sender.status(document) == ("expired", 1)) is is_over
    assert (await sender.events(document))[-1] == "document.expired"
    assert (await sender.decide(document, "reopen", "reconsidered")).code == "RDM000912"


async def test_a_document_approved_anew_while_a_sweep_stood_still_stays(
    sender: Sender, worker: Database, monkeypatch: pytest.MonkeyPatch
):
    document = await sender.submitted()
    await sender.decided(document, "approve", expires_on="2020-01-01")

    async def after_a_while(connection: Connection, documents: Iterable[Due]) -> None:
        await sender.stage.execute("update identity_documents set expires_on = '2999-12-31'")
        await guard_owners(connection, documents)

    monkeypatch.setattr(sweep_documents, "guard_owners", after_a_while)
    await expire_documents(worker, most=MOST)
    assert (await sender.status(document))[0] == "approved"


async def test_files_go_when_their_time_is_over_and_the_decision_stays(sender: Sender, worker: Database):
    document = await sender.submitted()
    await sender.decided(document, "approve")
    before = await sender.onboarding()
    await shift(sender, "identity_documents", "decided_at", timedelta(days=89, hours=23))
    assert await purge_documents(worker, most=MOST) == 0
    await shift(sender, "identity_documents", "decided_at", timedelta(hours=1))
    assert await purge_documents(worker, most=MOST) == 1
    assert await purge_documents(worker, most=MOST) == 0
    assert await collect_objects(worker, store_of(sender), most=MOST) == 1
    assert objects_on_disk(sender) == []
    told = await sender.view(document)
    assert (told.status, told.code) == (404, "RDM000910")
    (kept,) = (await sender.onboarding())["documents"]
    assert (kept["status"], kept["decision"], kept["files"][0]["is_stored"]) == ("approved", "approve", False)
    assert len(kept["files"][0]["sha256"]) == 64
    assert (await sender.onboarding())["status"] == before["status"]
    assert await sender.events(document) == ["document.submitted", "document.approved", "document.purged"]
    assert await sender.acts(document) == [
        *("document.created", "document.submitted", "document.approved", "document.purged"),
    ]


async def test_the_files_of_a_document_in_review_stay(sender: Sender, worker: Database):
    document = await sender.submitted()
    await sender.decided(document, "request_resubmission", "blurry")
    await sender.put(document, "single")
    await sender.submit(document)
    await shift(sender, "identity_documents", "decided_at", timedelta(days=1_000))
    assert await purge_documents(worker, most=MOST) == 0
    assert (await sender.view(document)).status == 200


async def test_files_asked_for_go_unless_new_ones_come(sender: Sender, worker: Database):
    document = await sender.submitted()
    await sender.decided(document, "request_resubmission", "blurry")
    await shift(sender, "identity_documents", "decided_at", timedelta(days=90))
    await sender.put(document, "single")
    assert await purge_documents(worker, most=MOST) == 0
    await shift(sender, "document_files", "created_at", timedelta(days=90))
    assert await purge_documents(worker, most=MOST) == 1
    missing = await sender.submit(document)
    assert (missing.code, missing.json["extra_fields"]["missing_sides"]) == ("RDM000926", ["single"])
    await sender.put(document, "single")
    assert (await sender.submit(document)).json["attempt"] == 2


async def test_a_draft_nobody_touches_is_forgotten(sender: Sender, worker: Database):
    document = (await sender.post()).json["id"]
    await shift(sender, "identity_documents", "updated_at", timedelta(days=29, hours=23))
    assert await forget_drafts(worker, most=MOST) == 0
    await shift(sender, "identity_documents", "updated_at", timedelta(hours=1))
    assert await forget_drafts(worker, most=MOST) == 1
    assert await sender.stage.value("select count(*) from identity_documents") == 0
    assert await collect_objects(worker, store_of(sender), most=MOST) == 1
    assert await sender.acts(document) == ["document.created", "document.deleted"]


async def row_of(sender: Sender) -> tuple[Any, ...]:
    (row,) = await sender.stage.fetch(
        "select integrator_id, document_id, side, version, object_id, key_sealed from document_files"
    )
    return tuple(row)


async def test_a_file_is_read_by_its_key_in_its_place_only(sender: Sender):
    await sender.post()
    tenant, document, side, version, object_key, sealed = await row_of(sender)
    (path,) = objects_on_disk(sender)
    stored = path.read_bytes()
    assert b"\xff\xd8\xff" not in stored[:1_000]
    key = make_keyring().opened_key(sealed, associated=place_of_key(tenant, document, side, version))
    place = place_of_file(tenant, document, side, object_key)
    assert decrypted(stored, key, associated=place).startswith(b"\xff\xd8\xff")
    with pytest.raises(FileTampered):
        decrypted(stored, key, associated=place_of_file(tenant, document, "back", object_key))
    with pytest.raises(FileTampered):
        decrypted(stored[:-1] + bytes([stored[-1] ^ 1]), key, associated=place)
    with pytest.raises(KeyMissing):
        make_keyring().opened_key(sealed, associated=place_of_key(tenant, document, side, version + 1))


async def test_after_erasure_no_copy_of_the_object_can_be_read(sender: Sender):
    document = await sender.submitted()
    draft = (await sender.post("selfie")).json["id"]
    kept = [path.read_bytes() for path in objects_on_disk(sender)]
    async with sender.stage.db.transaction() as connection:
        await guard_participants(connection, [(sender.campaign.key, sender.person.key)])
        owner = {"tenant_key": sender.campaign.key, "participant_key": sender.person.key}
        assert await destroy_documents(connection, **owner, actor="admin:tests", correlation_id="tests") == 2
    assert len(kept) == 2
    keys = await sender.stage.fetch("select key_sealed, object_id from document_files")
    assert keys == [(None, None)]
    assert await sender.acts(draft) == ["document.created", "document.deleted"]
    assert (await sender.acts(document))[-1] == "document.purged"


async def test_a_file_that_goes_while_it_is_looked_at_is_not_there(sender: Sender, monkeypatch: pytest.MonkeyPatch):
    document = await sender.submitted()
    tenant = sender.campaign.key

    async def found_and_purged(connection: Connection, *arguments: Any, **named: Any) -> IdentityDocument | None:
        found = await find_document(connection, *arguments, **named)
        async with sender.stage.db.connection() as other:
            await destroy_files(other, [(tenant, UUID(document))], await read_clock(other))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(read_document_file, "find_document", found_and_purged)
        told = await sender.view(document)
    assert (told.status, told.code) == (404, "RDM000910")
    assert "document.viewed" not in await sender.acts(document)


async def test_a_file_whose_object_is_collected_while_it_is_looked_at_is_not_there(sender: Sender):
    document = await sender.submitted()
    assert (await sender.view(document)).status == 200
    (stored,) = objects_on_disk(sender)
    stored.unlink()
    told = await sender.view(document)
    assert (told.status, told.code) == (404, "RDM000910")


async def test_a_draft_that_goes_before_its_decision_is_not_there(sender: Sender, monkeypatch: pytest.MonkeyPatch):
    document = (await sender.post()).json["id"]
    path = f"/participants/me/documents/{document}"

    async def after_its_owner(*arguments: Any) -> None:
        assert (await sender.stage.call("DELETE", path, headers=sender.headers)).status == 204
        await guard_living(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(decide_document, "guard_living", after_its_owner)
        told = await sender.decide(document, "approve")
    assert (told.status, told.code) == (404, "RDM000910")


async def test_seals_follow_the_current_key_so_that_the_former_can_go(sender: Sender, worker: Database):
    document = (await sender.post()).json["id"]
    former = make_keyring()
    older = former.current(Purpose.DOCUMENT)
    newer = Key(Purpose.DOCUMENT, "document-2", b"n" * 16 + bytes(range(16)), older.created_at + timedelta(days=1))
    others = [key for purpose in Purpose if purpose is not Purpose.DOCUMENT for key in former.all_of(purpose)]
    both = Keyring([*others, older, newer])
    assert await renew_seals(worker, keyring=both, most=MOST) == 1
    assert await renew_seals(worker, keyring=both, most=MOST) == 0
    sender.stage.parts.keyring = KeyringHolder(Keyring([*others, newer]))
    assert (await sender.view(document)).status == 200
    sender.stage.parts.keyring = KeyringHolder(Keyring([*others, older]))
    assert (await sender.view(document)).status == 503
    sender.stage.parts.keyring = KeyringHolder()


async def test_a_reset_of_the_device_asks_for_every_approved_required_document(sender: Sender):
    first = await sender.submitted("rg", "front", "back")
    await sender.decided(first, "approve")
    second = await sender.submitted("rg", "front", "back")
    await sender.decided(second, "approve")
    address = await sender.submitted("proof_of_address")
    await sender.decided(address, "approve")
    async with sender.stage.db.transaction() as connection:
        owner = {"tenant_key": sender.campaign.key, "participant_key": sender.person.key}
        await guard_participants(connection, [(sender.campaign.key, sender.person.key)])
        assert await ask_documents_again(connection, **owner, actor="admin:tests", correlation_id="tests") == 2
    assert await sender.status(first) == await sender.status(second) == ("resubmission_requested", 1)
    assert await sender.status(address) == ("approved", 1)
    assert (await sender.submit(first)).code == "RDM000926"  # nothing new
    await sender.put(first, "back")
    assert (await sender.submit(first)).json["attempt"] == 1  # no reviewer asked for it
    await sender.put(second, "back")
    assert (await sender.submit(second)).code == "RDM000912"  # the other is on its way
    await sender.decided(first, "request_resubmission", "blurry")
    await sender.put(first, "front")
    assert (await sender.submit(first)).json["attempt"] == 2
