"""What an upload may be in form and size, and what becomes of each kind of file (promises.md §4.7)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from aval.domain.caller import Caller, CallerKind
from aval.domain.campaign import Campaign, TwoFactorPolicy
from aval.domain.errors import Refusal
from aval.domain.identity_document import FILE_BYTES_MAX
from aval.domain.keyring import Keyring, Purpose
from aval.http.edge import Call
from aval.http.redemptions import uploads
from aval.http.redemptions.uploads import UPLOADS_MAX, UPLOADS_OF_ONE_MAX, Form, Malformed, Reception
from tests.document_actors import BOUNDARY, TYPE, Sender, document_form, form, part
from tests.factories import KeyringHolder, make_keyring
from tests.hostile_files import ANSWERS, Sent, pdf, picture, unreadable_pictures
from tests.redemption_stage import RedemptionStage

GOOD = part("type", b"passport"), part("side", b"single")
FILE = part("file", picture())


def forms() -> Iterator[tuple[str, bytes]]:
    """Bodies that are no form of one file and its two fields."""
    yield "10,000 parts", form(*[part(f"x{number}", b"") for number in range(10_000)])
    yield "10,000 parts of one name", form(*[part("type", b"rg")] * 10_000)
    yield "a second file", form(*GOOD, FILE, FILE)
    yield "an unknown field", form(*GOOD, FILE, part("status", b"approved"))
    yield "a nested form", form(*GOOD, part("file", form(FILE), "Content-Type: multipart/mixed; boundary=b"))
    yield "no file", form(*GOOD)
    yield "no side", form(GOOD[0], FILE)
    yield "no parts", form()
    yield "no end", form(*GOOD, FILE)[:-30]
    yield "nothing", b""
    yield "no form", b"front of my passport"
    yield "JSON", b'{"type": "passport"}'
    yield "another boundary", form(*GOOD, FILE).replace(BOUNDARY.encode(), b"other")
    yield "a part without a name", form(*GOOD, FILE, part("", b""))
    yield "a part that is no form data", form(*GOOD, FILE).replace(b"form-data", b"attachment", 1)
    yield "a field that is long", form(part("type", b"p" * 65), GOOD[1], FILE)
    yield "a header twice", form(*GOOD, part("file", b"x", 'Content-Disposition: form-data; name="type"'))
    yield "a header without an end", form(*GOOD, part("file", b"x", "X-Long: " + "a" * 20_000))
    yield "many headers", form(*GOOD, part("file", b"x", *(f"X-{number}: a" for number in range(20))))
    yield "a file in letters", form(*GOOD, part("file", b"/9j/", "Content-Transfer-Encoding: base64"))
    yield "a type nobody knows", form(part("type", b"rgx"), GOOD[1], FILE)
    yield "a type in capitals", form(part("type", b"PASSPORT"), GOOD[1], FILE)
    yield "a side the type lacks", form(GOOD[0], part("side", b"front"), FILE)


@pytest.fixture(scope="module")
async def sender(redemptions: RedemptionStage) -> Sender:
    return await Sender.make(redemptions)


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in forms()])
async def test_what_is_no_form_of_one_file_is_refused(sender: Sender, body: bytes):
    told = await sender.upload("POST", "/participants/me/documents", body)
    assert (told.status, told.code) == (400, "QIT000001"), told.body
    assert await stored(sender) == 0


async def stored(sender: Sender) -> int:
    """How many objects and documents there are of the sender."""
    return int(
        await sender.stage.value(
            "select (select count(*) from document_objects where integrator_id = $1)"
            " + (select count(*) from identity_documents where integrator_id = $1)",
            sender.campaign.key,
        )
    )


@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [
        ("multipart/form-data", 400, "QIT000001"),
        ("multipart/form-data; boundary=", 400, "QIT000001"),
        (f"multipart/form-data; boundary={'b' * 71}", 400, "QIT000001"),
        ("multipart/form-data; boundary=ação", 400, "QIT000001"),
        ("multipart/mixed; boundary=aval-tests-boundary", 415, "QIT000942"),
        ('multipart/form-data; boundary=aval-tests-boundary; x="\nmultipart/mixed; boundary=b"', 415, "QIT000942"),
        ("multipart/form-data; boundary=aval-tests-boundary\ntext/html", 415, "QIT000942"),
        ("application/json", 415, "QIT000942"),
        ("image/jpeg", 415, "QIT000942"),
        ("", 415, "QIT000942"),
    ],
)
async def test_the_type_of_the_body_is_a_form_with_a_boundary(
    sender: Sender, content_type: str, status: int, code: str
):
    body = form(*GOOD, FILE)
    told = await sender.upload("POST", "/participants/me/documents", body, content_type)
    assert (told.status, told.code) == (status, code)


@pytest.mark.parametrize(
    "filename", ["../../x", "con", "a\0b", "\u202egpj.exe", "a" * 4_096, "", '";name="type', "x\\"], ids=ascii
)
async def test_a_file_name_is_nothing_but_a_word(redemptions: RedemptionStage, filename: str):
    sender = await Sender.make(redemptions)
    named = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="'.encode()
    named += filename.replace('"', "%22").encode() + b'"\r\n\r\n' + picture() + b"\r\n"
    told = await sender.upload("POST", "/participants/me/documents", form(*GOOD, named))
    assert told.status == 201, told.body
    if filename:
        rows = await redemptions.fetch("select d::text, f::text from identity_documents d join document_files f"
                                       " using (integrator_id, document_id) where d.document_id = $1",
                                       UUID(told.json["id"]))  # fmt: skip
        assert filename not in str(rows)


@pytest.mark.parametrize(
    ("size", "status", "code"), [(FILE_BYTES_MAX, 201, None), (FILE_BYTES_MAX + 1, 413, "RDM000923")]
)
async def test_a_file_ends_at_five_megabytes(redemptions: RedemptionStage, size: int, status: int, code: str | None):
    sender = await Sender.make(redemptions)
    told = await sender.post(content=picture().ljust(size, b"\0"))
    assert (told.status, told.code) == (status, code)
    assert (await stored(sender) == 0) is (status != 201)
    if status == 201:
        assert told.json["files"][0]["size"] == size


A_FEW = [
    *(Sent(name, content, "type") for name, content in (("text", b"x"), ("nul", bytes(100)), ("zip", b"PK\x03\x04"))),
    *(sent for sent in unreadable_pictures() if sent.name in ("nothing at all", "jpeg, head", "jpeg and zip")),
    Sent("selfie as PDF", pdf(), "type", "selfie"),
    Sent("licence as JPEG", picture(), "type", "cnh_digital"),
    Sent("pdf", pdf(), "kept"),
    Sent("animation", picture("PNG"), "kept", "selfie"),
]  # all of them: tests/proof/uploads.py


@pytest.mark.parametrize("sent", A_FEW, ids=lambda sent: sent.name)
async def test_a_file_gets_its_verdict(redemptions: RedemptionStage, sent: Sent):
    sender = await Sender.make(redemptions)
    told = await sender.post(sent.document_type, content=sent.content)
    assert (told.status, told.code) == ANSWERS[sent.fate], told.body
    assert (await stored(sender) == 0) is (sent.fate != "kept")


async def test_what_the_part_says_of_its_type_does_not_count(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    said = part("file", picture("PNG"), "Content-Type: application/pdf", filename="a.pdf")
    told = await sender.upload("POST", "/participants/me/documents", form(*GOOD, said))
    assert told.json["files"][0]["media_type"] == "image/png"


async def test_the_parts_may_come_in_any_order(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    told = await sender.upload("POST", "/participants/me/documents", form(FILE, *reversed(GOOD)))
    assert told.status == 201


async def test_who_may_not_upload_is_told_before_the_body_is_read(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    body = document_form("passport", "single", picture())
    asked = 0

    async def chunks() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": body, "more_body": True}

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        if not sent:
            assert not asked
        sent.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": "/participants/me/documents",
        "raw_path": b"/participants/me/documents", "query_string": b"", "client": None,
        "headers": [(b"content-type", TYPE.encode()), (b"transfer-encoding", b"chunked")],
    }  # fmt: skip
    await sender.stage.app(scope, chunks, send)
    assert sent[0]["status"] == 401


async def test_a_file_too_large_is_told_before_six_megabytes_are_read(sender: Sender):
    start = document_form("passport", "single", b"\xff\xd8\xff")[: -len(BOUNDARY) - 8]
    read = 0

    async def chunks() -> dict[str, Any]:
        nonlocal read
        piece = start if not read else bytes(262_144)
        read += len(piece)
        return {"type": "http.request", "body": piece, "more_body": True}

    sent: list[tuple[int, dict[str, Any]]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append((read, message))

    path = "/participants/me/documents"
    headers = sender.headers | {"content-type": TYPE, "transfer-encoding": "chunked"}
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": path, "raw_path": path.encode(),
        "query_string": b"", "client": None,
        "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
    }  # fmt: skip
    await sender.stage.app(scope, chunks, send)
    assert sent[0][1]["status"] == 413
    assert sent[0][0] < 6_000_000
    assert (b"connection", b"close") in sent[0][1]["headers"]


async def test_without_a_key_for_documents_nothing_is_taken(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    keyring = make_keyring()
    others = [key for purpose in Purpose if purpose is not Purpose.DOCUMENT for key in keyring.all_of(purpose)]
    redemptions.parts.keyring = KeyringHolder(Keyring(others))
    told = await sender.post()
    redemptions.parts.keyring = KeyringHolder()
    redemptions.faults.clear()
    assert (told.status, told.code, told.headers["retry-after"]) == (503, "120", "5")
    assert await stored(sender) == 0


CAMPAIGN = Campaign(uuid4(), "c", "c", "C", "live", "active", "pt-BR", "UTC", {}, {}, 1, TwoFactorPolicy())


def call_of(chunks: AsyncIterator[bytes], participant: UUID | None = None) -> Call:
    key = participant or uuid4()
    caller = Caller(CallerKind.PARTICIPANT, "tests", frozenset(), campaign=CAMPAIGN, participant_key=key)
    headers = {"content-type": TYPE}
    return Call("POST", "/x", {}, {}, headers, b"", "tests", chunks=chunks, caller_of_redemption=caller)


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
async def test_a_form_is_the_same_however_it_arrives(size: int):
    content = picture(size=(200, 200)) + f"\r\n--{BOUNDARY[:-1]}".encode()
    body = document_form("rg", "front", content)
    async with Reception(None).received(call_of(pieces(body, size)), frozenset({"type", "side"})) as received:
        received.content.seek(0)
        assert received.content.read() == content
        assert (received.fields, received.size) == ({"type": "rg", "side": "front"}, len(content))


async def test_no_more_uploads_at_once_than_the_process_takes_on():
    reception, may_end = Reception(None, uploads_max=1), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        await may_end.wait()
        yield form(part("file", b"x"))

    async def upload(chunks: AsyncIterator[bytes]) -> None:
        async with reception.received(call_of(chunks), frozenset()):
            pass

    first = asyncio.create_task(upload(slow()))
    await asyncio.sleep(0)
    with pytest.raises(Refusal) as refused:
        await upload(pieces(form(part("file", b"x")), 9))
    assert refused.value.name == "rdm.unavailable"
    may_end.set()
    await first
    await upload(pieces(form(part("file", b"x")), 9))


async def test_a_participant_whose_uploads_drip_takes_no_place_from_others():
    reception, may_end, dripping = Reception(None), asyncio.Event(), uuid4()

    async def slow() -> AsyncIterator[bytes]:
        await may_end.wait()
        yield form(part("file", b"x"))

    async def upload(chunks: AsyncIterator[bytes], participant: UUID | None = None) -> None:
        async with reception.received(call_of(chunks, participant), frozenset()):
            pass

    sent = [asyncio.create_task(upload(slow(), dripping)) for _ in range(UPLOADS_MAX)]
    await asyncio.sleep(0)
    await upload(pieces(form(part("file", b"x")), 9))
    may_end.set()
    await asyncio.gather(*sent)  # each in its turn, and none refused
    await upload(pieces(form(part("file", b"x")), 9), dripping)


async def test_who_gets_no_turn_is_refused_after_a_while(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(uploads, "TURN_WAIT", timedelta(milliseconds=20))
    reception, may_end, dripping = Reception(None), asyncio.Event(), uuid4()

    async def slow() -> AsyncIterator[bytes]:
        await may_end.wait()
        yield form(part("file", b"x"))

    async def upload() -> None:
        async with reception.received(call_of(slow(), dripping), frozenset()):
            pass

    sent = [asyncio.create_task(upload()) for _ in range(UPLOADS_OF_ONE_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Refusal) as refused:
        await upload()
    assert refused.value.name == "qit.too_many_requests"
    may_end.set()
    await asyncio.gather(*sent)


def test_a_form_holds_no_more_than_the_piece_it_was_fed():
    reader = Form(frozenset({"file"}), BOUNDARY.encode())
    reader.feed(form(part("file", b""))[: -len(BOUNDARY) - 8])
    for _ in range(10):
        reader.feed(bytes(1_000))
        assert sum(map(len, reader.pending)) <= 1_000 + len(BOUNDARY) + 4
        reader.pending.clear()
    with pytest.raises(Malformed):
        Form(frozenset({"file"}), BOUNDARY.encode()).feed(form(part("type", b"rg")))
