"""Proof of DV8 and DV9 (T20): no upload is held in memory, and no file does anything but be looked at.

A real deployment: one API process that takes everything. DV8: 50 streams of 1 GB at once, declared and chunked, and 50
good files of 5 MB at once; what the process grows by is read from the system. DV9: every file of
`tests/hostile_files.py` gets its verdict, and what is kept shows nothing but the picture; nightly also 3,000 mutants.
Figures are those of the pull request unless AVAL_PROOF_NIGHTLY=1; AVAL_PROOF_SEED repeats a run.
"""

import asyncio
import random
import resource
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO
from itertools import chain, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from aval.decoder.child import CPU_S, MEMORY_BYTES
from aval.decoder.sandbox import SandboxedDecoder
from aval.domain.campaign import CampaignData
from aval.domain.file_type import media_type_of
from aval.domain.identity_document import FILE_BYTES_MAX
from aval.domain.participant import Email, NewParticipant, Profile
from aval.operations.create_admin_key import create_admin_key
from aval.operations.create_application import create_application
from aval.operations.create_campaign import create_campaign
from aval.operations.create_participant import create_participant
from aval.operations.fresh import new_cpf
from tests.document_actors import TYPE, document_form
from tests.factories import AUTHOR, Reply, make_keyring, numbers
from tests.hostile_files import ANSWERS, CANARY, Sent, every_file, page_count, picture
from tests.proof.deployment import AvalProcess, RunningAval, figure, running_deployment
from tests.stage import until

pytestmark = pytest.mark.proof

STREAMS = 50
STREAM_BYTES = 1_000_000_000
READ_BYTES_MAX = 6_000_000  # DV8: the answer is there before this much was read
SENT_BYTES_MAX = 24_000_000  # what a client may have handed to its system by then: the buffers in between are not ours
GROWTH_MB = 32
PIECE = 65_536
MUTANTS = figure(60, 3_000)
AT_ONCE = 6
ROUNDS_MAX = 12
BODY_TIMEOUT_S = 3


@dataclass
class Club:
    """A campaign of a deployment, an application that sends for its participants, and a reviewer."""

    aval: RunningAval
    campaign: Any
    application: Any
    reviewer: str = field(repr=False)
    people: list[Any] = field(default_factory=list)

    async def join(self) -> dict[str, str]:
        """One more participant: the headers under which the application sends."""
        person = NewParticipant(
            external_id=None,
            name="Helena Prado Martins",
            username=f"helena.{next(numbers)}",
            document_number=new_cpf(),
            person_type="INDIVIDUAL",
            status="ACTIVE",
            catalog_id="gold",
            profile=Profile(emails=(Email("helena@example.com"),)),
        )
        made = await create_participant(
            self.aval.db, campaign=self.campaign, person=person, keyring=make_keyring(), author=AUTHOR
        )
        return {
            "Ocp-Apim-Subscription-Key": self.application.subscription_key,
            "participantid": str(made.participant.key),
            "catalogId": "gold",
            "customerId": self.campaign.campaign_id,
            "impersonatorUser": "proof",
        }

    async def send(self, headers: dict[str, str], body: bytes, *, api: AvalProcess | None = None) -> Reply:
        """Begin a document."""
        reply = await self.call("POST", "/participants/me/documents", body, headers, api)
        assert reply.status < 500, (reply.status, reply.body)
        return reply

    async def call(
        self, method: str, path: str, body: bytes, headers: dict[str, str], api: AvalProcess | None = None
    ) -> Reply:
        port = (api or self.aval.apis[0]).port
        assert port is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(self.head(method, path, headers, f"Content-Length: {len(body)}") + body)
            return await answer(reader)
        finally:
            writer.close()

    def head(self, method: str, path: str, headers: dict[str, str], length: str) -> bytes:
        bearer = headers.get("Authorization", f"Bearer {self.application.api_key}")
        told = {"Host": "127.0.0.1", "Content-Type": TYPE, **headers, "Authorization": bearer}
        lines = "".join(f"{name}: {text}\r\n" for name, text in told.items())
        return f"{method} {path} HTTP/1.1\r\n{lines}{length}\r\n\r\n".encode()

    async def viewed(self, document: str) -> Reply:
        """What a reviewer sees of it."""
        reviewer = {"Authorization": f"Bearer {self.reviewer}"}
        return await self.call("GET", f"/documents/{document}/files/single", b"", reviewer)


async def answer(reader: asyncio.StreamReader) -> Reply:
    """Read one answer, whatever of the request is still on its way."""
    async with asyncio.timeout(60):
        head = await reader.readuntil(b"\r\n\r\n")
        status, *lines = head[:-4].decode("latin-1").split("\r\n")
        headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
        return Reply(int(status.split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0))))


@pytest.fixture(scope="module")
async def club() -> AsyncIterator[Club]:
    """The deployment; its API process has to be the same until the end, and to stop well."""
    async with running_deployment(apis=1, workers=0, AVAL_BODY_TIMEOUT=str(BODY_TIMEOUT_S)) as aval:
        data = CampaignData(
            campaign_id="club",
            client_id="club",
            name="Clube",
            mode="sandbox",
            catalogs={"gold": "Ouro"},
            vendors={"loja-sol": "Loja Sol"},
        )
        campaign = (await create_campaign(aval.db, data=data, author=AUTHOR)).campaign
        application = await create_application(
            aval.db,
            campaign=campaign,
            name="App",
            scopes=("impersonate", "onboarding.write", "participants.read"),
            webhook_url=None,
            calls_per_minute=None,
            keyring=make_keyring(),
            author=AUTHOR,
        )
        _, reviewer = await create_admin_key(
            aval.db, name="reviewer", scopes=("documents.review",), keyring=make_keyring(), author=AUTHOR
        )
        yield Club(aval, campaign, application, reviewer)


async def abreast(cases: list[Any], do: Callable[[Any], Awaitable[str | None]]) -> list[str]:
    """Do something for every case, a few at once; answers what went wrong."""
    waiting, faults = list(reversed(cases)), list[str]()

    async def lane() -> None:
        while waiting:
            fault = await do(waiting.pop())
            faults.extend([fault] if fault else [])

    await asyncio.gather(*(lane() for _ in range(AT_ONCE)))
    return faults


async def test_hostile_file_gets_its_verdict(club: Club):
    """DV9: 100 % of the verdicts, no death, and nothing stored but what a picture shows."""
    process = club.aval.apis[0].pid

    async def send(sent: Sent) -> str | None:
        side = document_form(sent.document_type, "single", sent.content)
        reply = await club.send(await club.join(), side)
        if (reply.status, reply.code) != ANSWERS[sent.fate]:
            return f"{sent.name}: {reply.status} {reply.code} instead of {sent.fate}"
        if sent.fate == "kept":
            return kept_fault(sent, await club.viewed(reply.json["id"]))
        return None

    files = every_file()
    assert sum(sent.fate != "kept" for sent in files) >= 60
    assert await abreast(files, send) == []
    assert club.aval.apis[0].is_running and club.aval.apis[0].pid == process
    assert await stored_objects(club) == sum(sent.fate == "kept" for sent in files)


def kept_fault(sent: Sent, seen: Reply) -> str | None:
    """What is wrong with a file that was kept."""
    if seen.status != 200 or seen.headers["content-type"] != media_type_of(seen.body):
        return f"{sent.name}: {seen.status} {seen.headers.get('content-type')}"
    if CANARY.encode() in seen.body:
        return f"{sent.name}: its metadata was kept"
    if seen.headers["content-type"] == "application/pdf":
        return None if page_count(seen.body) == page_count(sent.content) else f"{sent.name}: other pages"
    before, after = Image.open(BytesIO(sent.content)), Image.open(BytesIO(seen.body))
    is_same = sorted(before.size) == sorted(after.size) and after.format == (
        "PNG" if before.format == "PNG" else "JPEG"
    )
    is_still = getattr(after, "n_frames", 1) == 1
    return None if is_same and is_still else f"{sent.name}: {before.size} became {after.size}"


async def stored_objects(club: Club) -> int:
    """Files in the store's directory."""
    return sum(path.is_file() for path in store_of(club).rglob("*"))


def store_of(club: Club) -> Path:
    return club.aval.apis[0].log.parent / "documents"


async def test_files_with_a_few_wrong_bytes_are_kept_or_refused(club: Club, chance: random.Random):
    """DV9: mutants of good files; whatever a parser makes of them, nobody dies of it."""
    good = [sent.content for sent in every_file() if sent.fate == "kept" and len(sent.content) < 100_000]
    process = club.aval.apis[0].pid

    def mutant() -> bytes:
        content = bytearray(chance.choice(good))
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        return bytes(content[: chance.randrange(16, len(content))] if chance.random() < 0.2 else content)

    async def send(content: bytes) -> str | None:
        reply = await club.send(await club.join(), document_form("passport", "single", content))
        return None if (reply.status, reply.code) in ANSWERS.values() else f"{reply.status} {content[:40].hex()}"

    assert await abreast([mutant() for _ in range(MUTANTS)], send) == []
    assert club.aval.apis[0].is_running and club.aval.apis[0].pid == process


def test_no_file_takes_more_than_its_share():
    """DV9: the costliest files, in children of a process that has no others, whose use the system adds up."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        alone.submit(look_at_the_costliest).result()


def look_at_the_costliest() -> None:
    """Rewrite each, and hold what its child took against the limits."""
    costly = ("png as large as may be", "held sideways", "inflates", "bomb for a text")
    for sent in every_file():
        if not any(word in sent.name for word in costly):
            continue
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
            source.write(sent.content)
            media_type = media_type_of(sent.content)
            assert media_type is not None
            is_kept = asyncio.run(SandboxedDecoder().rewrite(source, target, media_type))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert is_kept is (sent.fate == "kept"), sent.name
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= CPU_S + 1, sent.name
        assert after.ru_maxrss * 1024 <= MEMORY_BYTES, sent.name


@asynccontextmanager
async def growing_by_at_most(club: Club, megabytes: int) -> AsyncIterator[None]:
    """Look at the API's memory meanwhile."""
    status = Path(f"/proc/{club.aval.apis[0].pid}/status")

    def resident() -> float:
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    before, highest = resident(), 0.0
    is_over = asyncio.Event()

    async def watch() -> None:
        nonlocal highest
        while not is_over.is_set():
            highest = max(highest, resident())
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        is_over.set()
        await watching
    print(f"\nuploads: {before:.0f} MB before, {highest:.0f} MB at most")
    assert highest - before <= megabytes, (before, highest)


async def test_good_files_of_five_megabytes_are_not_held(club: Club):
    """DV8, the other way round: what is taken passes through the process, too, and does not stay in it."""
    photo = picture("PNG", size=(1_000, 1_000)).ljust(FILE_BYTES_MAX, b"\0")
    people = [await club.join() for _ in range(STREAMS)]
    warm = document_form("selfie", "single", picture())
    assert {(await club.send(await club.join(), warm)).status for _ in range(4)} == {201}
    async with growing_by_at_most(club, GROWTH_MB):
        body = document_form("passport", "single", photo)
        replies = await asyncio.gather(*(club.send(each, body) for each in people))
    assert {(reply.status, reply.json["files"][0]["size"]) for reply in replies} == {(201, FILE_BYTES_MAX)}


async def stream(club: Club, headers: dict[str, str], *, is_chunked: bool) -> tuple[Reply, int]:
    """Send 1 GB until it is answered; how many bytes had left by then."""
    port = club.aval.apis[0].port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    length = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {STREAM_BYTES}"
    writer.write(club.head("POST", "/participants/me/documents", headers, length))
    start = document_form("passport", "single", b"\xff\xd8\xff")[:-30]
    answered = asyncio.create_task(answer(reader))
    sent = 0
    try:
        for piece in chain((start,), repeat(bytes(PIECE), STREAM_BYTES // PIECE)):
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if is_chunked else piece)
            sent += len(piece)
            await writer.drain()
            if answered.done():
                break
            await asyncio.sleep(0)
        return await answered, sent
    except ConnectionError:
        return await answered, sent
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("is_chunked", [False, True], ids=["declared", "chunked"])
async def test_endless_streams_are_refused_without_being_held(club: Club, is_chunked: bool):
    """DV8: 50 at once; 413, and the process hardly grows."""
    people = [await club.join() for _ in range(STREAMS)]
    await stream(club, await club.join(), is_chunked=is_chunked)
    before = await stored_objects(club)
    async with growing_by_at_most(club, GROWTH_MB):
        told = await asyncio.gather(*(stream(club, each, is_chunked=is_chunked) for each in people))
    assert {(reply.status, reply.code) for reply, _ in told} == {(413, "RDM000923")}
    assert max(sent for _, sent in told) <= SENT_BYTES_MAX
    assert await stored_objects(club) == before


async def test_a_body_that_drips_is_cut_off(club: Club):
    port = club.aval.apis[0].port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = document_form("passport", "single", picture())
    writer.write(club.head("POST", "/participants/me/documents", await club.join(), f"Content-Length: {len(body)}"))

    async def drip() -> None:
        for byte in body:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.1)

    dripping = asyncio.create_task(drip())
    try:
        assert (await answer(reader)).status == 408
    finally:
        dripping.cancel()
        writer.transport.abort()


async def test_what_a_killed_process_left_is_collected_and_nothing_else():
    """An API process that dies anywhere in an upload leaves no document without its file, and in the end no object."""
    async with running_deployment(apis=1, workers=0) as aval:
        data = CampaignData(
            campaign_id="club", client_id="club", name="Clube", mode="sandbox", catalogs={"gold": "Ouro"}
        )
        campaign = (await create_campaign(aval.db, data=data, author=AUTHOR)).campaign
        application = await create_application(
            aval.db, campaign=campaign, name="App", scopes=("impersonate", "onboarding.write"), webhook_url=None,
            calls_per_minute=None, keyring=make_keyring(), author=AUTHOR,
        )  # fmt: skip
        club = Club(aval, campaign, application, "")
        whole = document_form("passport", "single", picture())
        assert (await club.send(await club.join(), whole)).status == 201
        for _ in range(ROUNDS_MAX):
            people = [await club.join() for _ in range(8)]
            sending = [asyncio.create_task(club.send(each, whole)) for each in people]
            await until(lambda: _left(club))
            aval.apis[0].kill()
            await asyncio.gather(*sending, return_exceptions=True)
            await aval.apis[0].start()
            if await _left(club):
                break
        await _judge_leftovers(club)


async def _left(club: Club) -> int:
    """Objects that lie in the store, or are about to, and belong to no document."""
    async with club.aval.db.connection() as connection:
        found = await connection.fetchval("select count(*) from aval.document_objects where state = 'written'")
    return int(found)


async def _judge_leftovers(club: Club) -> None:
    assert await _left(club)
    db = club.aval.db

    async def value(query: str, *arguments: object) -> Any:
        async with db.connection() as connection:
            return await connection.fetchval(query, *arguments)

    used = await value("select count(*) from aval.document_objects where state = 'in_use'")
    assert used == await value("select count(*) from aval.document_files where object_id is not null") > 0
    announced = await value("select count(*) from aval.document_objects")
    assert used <= await stored_objects(club) <= announced
    await value(
        "update aval.document_objects set due_at = due_at - $1::interval where due_at is not null returning 1",
        timedelta(hours=2),
    )
    worker = AvalProcess("worker", club.aval.apis[0]._environment, club.aval.apis[0].log.with_name("worker.log"), None)
    await worker.start()
    try:

        async def is_clean() -> bool:
            return bool(await value("select count(*) from aval.document_objects where state <> 'in_use'") == 0)

        await until(is_clean, within_s=40)
        assert await stored_objects(club) == used
    finally:
        await worker.stop()
