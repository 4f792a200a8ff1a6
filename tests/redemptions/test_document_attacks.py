"""What goes wrong around documents, or is made to: no space, no process, sweeps behind others, files moved about."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID, uuid4

import pytest

from aval.decoder import sandbox
from aval.domain.caller import Caller, CallerKind
from aval.domain.campaign import Campaign
from aval.domain.errors import Refusal
from aval.domain.keyring import Key, Keyring, Purpose
from aval.http.edge import Call
from aval.http.redemptions.uploads import UPLOADS_MAX, UPLOADS_OF_CAMPAIGN_MAX, Reception
from aval.operations import store_file
from aval.operations.sweep_documents import collect_objects, expire_documents, renew_seals
from aval.storage.database import Database
from tests.document_actors import TYPE, Sender, form, part
from tests.factories import make_keyring
from tests.redemption_stage import RedemptionStage


@pytest.fixture
async def worker(own_redemptions: RedemptionStage, db_as: Callable[..., Any]) -> Database:
    """The role under which a worker does its housekeeping."""
    opened: Database = await db_as("aval_app_settle")
    return opened


@pytest.mark.parametrize("which", [1, 2, 3], ids=["received", "shown", "sealed"])
async def test_a_full_disk_is_nobody_s_unreadable_file(
    redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch, which: int
):
    sender, opened = await Sender.make(redemptions), 0
    plain = store_file.spooled

    def full(directory: Path | None) -> BinaryIO:
        nonlocal opened
        opened += 1
        return Path("/dev/full").open("r+b", buffering=0) if opened == which else plain(directory)

    monkeypatch.setattr(store_file, "spooled", full)
    told = await sender.post()
    redemptions.faults.clear()
    assert (told.status, told.code, told.headers["retry-after"]) == (503, "120", "5")
    assert (await sender.post()).status == 201


async def test_a_directory_that_is_not_there_is_not_taken_for_a_full_one():
    with pytest.raises(FileNotFoundError), store_file.lent_space(Path("/nowhere")):
        pass


async def test_a_machine_without_a_process_to_spare_says_so(
    redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch
):
    sender = await Sender.make(redemptions)
    with monkeypatch.context() as patched:
        patched.setattr(sandbox, "_CHILD", ["/nowhere/python"])
        told = await sender.post()
    redemptions.faults.clear()
    assert (told.status, told.code) == (503, "120")
    assert (await sender.post()).status == 201


async def test_documents_of_a_zone_whose_day_goes_on_keep_no_other_from_expiring(
    own_redemptions: RedemptionStage, worker: Database
):
    west, east = "Pacific/Pago_Pago", "Pacific/Kiritimati"
    early = await Sender.make(own_redemptions, await own_redemptions.campaign(timezone=east))
    late = await Sender.make(own_redemptions, await own_redemptions.campaign(timezone=west))
    today = await own_redemptions.value("select (clock_timestamp() at time zone $1)::date", west)
    documents: list[str] = []
    for sender in (late, early):
        document = await sender.submitted()
        await sender.decided(document, "approve", expires_on=today.isoformat())
        documents.append(document)
    assert await expire_documents(worker, most=1) == 1
    assert await early.status(documents[1]) == ("expired", 1)
    assert await late.status(documents[0]) == ("approved", 1)
    assert await expire_documents(worker, most=1) == 0


@pytest.mark.parametrize(
    ("broken", "most"),
    [
        ("'\\x04'::bytea || 'gone'::bytea || substring(key_sealed from get_byte(key_sealed, 0) + 2)", 1),
        ("key_sealed || 'gone'::bytea", 10),
    ],
    ids=["its key is dropped", "its bytes are others"],
)
async def test_a_seal_nobody_can_open_keeps_no_other_from_being_renewed(
    own_redemptions: RedemptionStage, worker: Database, broken: str, most: int
):
    sender = await Sender.make(own_redemptions)
    lost = (await sender.post("rg", "front")).json["id"]
    await own_redemptions.execute(f"update document_files set key_sealed = {broken}")
    await sender.post("selfie")
    former = make_keyring()
    older = former.current(Purpose.DOCUMENT)
    newer = Key(Purpose.DOCUMENT, "document-2", b"n" * 16 + bytes(range(16)), older.created_at + timedelta(days=1))
    others = [key for purpose in Purpose if purpose is not Purpose.DOCUMENT for key in former.all_of(purpose)]
    both = Keyring([*others, older, newer])
    assert await renew_seals(worker, keyring=both, most=most) == 1
    assert await renew_seals(worker, keyring=both, most=most) == 0
    seals = await own_redemptions.fetch("select document_id = $1, key_sealed from document_files", UUID(lost))
    assert {is_lost: re.search(b"gone|document-2", sealed)[0] for is_lost, sealed in seals} == {  # type: ignore[index]
        True: b"gone",
        False: b"document-2",
    }


UNIQUE = "document_files_object_id_integrator_id_key"
SWAPS = {
    "objects of two documents": "object_id",
    "keys of two documents": "key_sealed",
    "both": "object_id, key_sealed",
}


@pytest.mark.parametrize("columns", SWAPS.values(), ids=SWAPS)
@pytest.mark.parametrize("where", ["sides", "documents", "participants", "campaigns"])
async def test_files_moved_from_row_to_row_are_not_shown(own_redemptions: RedemptionStage, columns: str, where: str):
    stage = own_redemptions
    sender = await Sender.make(stage)
    first = (await sender.post("rg", "front")).json["id"]
    if where == "sides":
        await sender.put(first, "back")
    else:
        campaign = None if where == "campaigns" else sender.campaign
        other = sender if where == "documents" else await Sender.make(stage, campaign)
        await other.post("cnh", "front")
    for column in columns.split(", "):
        await swap(stage, column)
    seen = await sender.view(first, "front")
    stage.faults.clear()
    assert seen.status in (404, 503)


async def swap(stage: RedemptionStage, column: str) -> None:
    """Let the two files there are change places, past all rules of the database."""
    async with stage.db.transaction() as connection:
        await connection.execute("set local session_replication_role = replica")
        await connection.execute(f"alter table document_files drop constraint if exists {UNIQUE}")
        await connection.execute(
            f"update document_files f set {column} = o.{column} from document_files o where o.ctid <> f.ctid"  # noqa: S608
        )


async def test_fifty_uploads_at_once_get_an_answer_each(own_redemptions: RedemptionStage):
    sender = await Sender.make(own_redemptions)
    others = [await Sender.make(own_redemptions, sender.campaign) for _ in range(11)]
    told = await asyncio.gather(*(each.post("selfie") for each in [sender, *others] for _ in range(4)))
    own_redemptions.faults.clear()
    assert sorted({reply.status for reply in told}) == [201, 409]
    assert sum(reply.status == 201 for reply in told) == 12


async def test_a_file_stored_in_vain_goes_at_once(own_redemptions: RedemptionStage, worker: Database):
    sender = await Sender.make(own_redemptions)
    told = await asyncio.gather(*(sender.post("rg", "front") for _ in range(3)))
    (document,) = [reply.json["id"] for reply in told if reply.status == 201]
    store = own_redemptions.parts.files
    assert store is not None
    assert await collect_objects(worker, store.store, most=50) == 2
    path = f"/participants/me/documents/{document}"
    deleted, *_ = await asyncio.gather(
        own_redemptions.call("DELETE", path, headers=sender.headers), sender.put(document, "back")
    )
    assert deleted.status == 204
    assert await collect_objects(worker, store.store, most=50) in (1, 2)  # the draft may have gone before the upload
    assert await own_redemptions.value("select count(*) from document_objects") == 0


async def test_no_method_but_get_views_a_file(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    document = (await sender.post()).json["id"]
    for method in ("HEAD", "POST", "PUT", "DELETE"):
        told = await redemptions.call(method, f"/documents/{document}/files/single", headers=sender.reviewer)
        assert told.status in (404, 405)
    assert await sender.acts(document) == ["document.created"]
    part = await redemptions.call("GET", f"/documents/{document}/files/single?side=back", headers=sender.reviewer)
    assert part.status == 400
    assert await sender.acts(document) == ["document.created"]


async def test_a_campaign_whose_uploads_drip_leaves_places_to_others(redemptions: RedemptionStage):
    dripping, other = await redemptions.campaign(), await redemptions.campaign()
    reception, may_end = Reception(None), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        await may_end.wait()
        yield form(part("file", b"x"))

    async def upload(campaign: Campaign) -> None:
        caller = Caller(CallerKind.PARTICIPANT, "tests", frozenset(), campaign=campaign, participant_key=uuid4())
        chunks = slow() if campaign is dripping else aiter_of(form(part("file", b"x")))
        sent = {"content-type": TYPE}
        call = Call("POST", "/x", {}, {}, sent, b"", "tests", chunks=chunks, caller_of_redemption=caller)
        async with reception.received(call, frozenset()):
            pass

    sent = [asyncio.create_task(upload(dripping)) for _ in range(UPLOADS_MAX)]
    await asyncio.sleep(0)
    await upload(other)
    may_end.set()
    told = await asyncio.gather(*sent, return_exceptions=True)
    assert sum(isinstance(each, Refusal) for each in told) == UPLOADS_MAX - UPLOADS_OF_CAMPAIGN_MAX
    await asyncio.gather(*(upload(dripping) for _ in range(UPLOADS_OF_CAMPAIGN_MAX)))


async def aiter_of(body: bytes) -> AsyncIterator[bytes]:
    yield body


@pytest.mark.parametrize("first", ["upload", "side", "submit"])
async def test_whatever_comes_with_an_erasure_leaves_nothing_to_decrypt(
    own_redemptions: RedemptionStage, worker: Database, first: str
):
    sender = await Sender.make(own_redemptions)
    document = (await sender.post()).json["id"]
    calls = {
        "upload": lambda: sender.post("selfie"),
        "side": lambda: sender.put(document, "single"),
        "submit": lambda: sender.submit(document),
    }
    path = f"/participants/{sender.person.key}/erase"
    erasure = own_redemptions.call("POST", path, headers=sender.reviewer)
    told, erased = await asyncio.gather(calls[first](), erasure)
    assert erased.status == 200
    assert told.status in (200, 201) or (told.status, told.code) in ((404, "113"), (404, "RDM000910"))
    kept = "select count(*) from document_files where key_sealed is not null or object_id is not null"
    assert await own_redemptions.value(kept) == 0
    store = own_redemptions.parts.files
    assert store is not None
    await collect_objects(worker, store.store, most=50)
    assert await own_redemptions.value("select count(*) from document_objects") == 0
    assert (await sender.post("selfie")).status in (401, 404)
    assert await own_redemptions.value(kept) == 0
