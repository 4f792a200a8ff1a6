"""Proof of TK7 (T4): twin answers are byte for byte the same – status, headers and their order, body, length.

Asked over a socket, compared as bytes after keys and times are masked (both have a fixed length). The pairs of
onboarding and the console wait for those parts.
"""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest

from tests.devices.authenticator import AppKey, signed_body
from tests.devices.registering import Enrollment, passkey_party, registered
from tests.devices.signing import request_by_device
from tests.factories import Party, make_credential, make_party
from tests.http.probe import listening, said
from tests.signing import new_signing_key, pem_of, signed_headers
from tests.world import ITEMS, World, body_of

pytestmark = pytest.mark.proof

SINGLES = ("pix_transfer", "ted")
KINDS = (*SINGLES, *ITEMS)
TOKEN_CALLS = {
    "validate": ("PUT", "/validate_token", b'{"token":"000000"}'),
    "resend": ("PATCH", "/resend_token", b""),
    "cancel": ("PATCH", "/cancel", b""),
}
SINGLE_CALLS = TOKEN_CALLS | {"read": ("GET", "/outgoing", b"")}
CALLS = dict.fromkeys(SINGLES, SINGLE_CALLS) | {
    kind: TOKEN_CALLS | {"read": ("GET", "", b""), "items": ("GET", f"/{items}", b"")} for kind, items in ITEMS.items()
}
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_DATE = re.compile(rb"(?<=\r\ndate: )[^\r]*", re.IGNORECASE)
_SECONDS = re.compile(rb"\b\d{4,5}\b")  # what is left of a lock runs down while one asks
_END_TO_END_ID = re.compile(rb"E\d{20}[0-9A-Za-z]{11}")


@dataclass
class Wire:
    """A world behind a socket, and its party."""

    world: World
    party: Party
    port: int

    async def ask(self, method: str, path: str, body: bytes = b"", key: str | None = "", **headers: str) -> bytes:
        """All bytes of the answer, without what every answer has of its own."""
        lines = {"host": "aval", "connection": "close", "x-correlation-id": "twin"}
        if key is not None:
            lines["authorization"] = f"Bearer {key or self.party.api_key}"
        if body:
            lines |= {"content-type": "application/json", "content-length": str(len(body))}
        lines |= {name.replace("_", "-"): text for name, text in headers.items()}
        head = "".join(f"{name}: {text}\r\n" for name, text in lines.items())
        return masked(await said(self.port, [f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body]))

    async def validate(self, kind: str, operation_key: UUID, token: str) -> bytes:
        path = f"/account/{self.party.account.key}/{kind}/{operation_key}/validate_token"
        return await self.ask("PUT", path, f'{{"token":"{token}"}}'.encode())


def masked(answer: bytes) -> bytes:
    for pattern, mask in ((_UUID, b"<key>"), (_TIME, b"<time>"), (_DATE, b"<date>"), (_END_TO_END_ID, b"<end to end>")):
        answer = pattern.sub(mask, answer)
    return answer


@pytest.fixture(scope="module")
async def port(module_world: World) -> AsyncIterator[int]:
    async with listening(module_world.app) as listened:
        yield listened


@pytest.fixture
async def wire(world: World, port: int) -> Wire:
    return Wire(world, await make_party(world.db), port)


def wrong_of(token: str, place: int) -> str:
    """The token with one symbol changed; the alphabet stays."""
    other = "1" if token[place] != "1" else "2"
    return token[:place] + other + token[place + 1 :]


def same(answers: dict[str, bytes]) -> list[str]:
    """Names of the answers that differ from the first."""
    first = next(iter(answers.values()))
    assert first.startswith(b"HTTP/1.1 ")
    return [name for name, answer in answers.items() if answer != first]


@pytest.mark.parametrize("kind", KINDS)
async def test_unknown_and_foreign_keys(wire: Wire, kind: str) -> None:
    """Own account with an unknown, a foreign and another kind's operation; then an unknown and a foreign account."""
    stranger = await make_party(wire.world.db)
    foreign = await wire.world.request(stranger, kind)
    other_kinds = {each: await wire.world.request(wire.party, each) for each in KINDS if each != kind}
    own = await wire.world.request(wire.party, kind)
    before = await wire.world.snapshot()
    for name, (method, end, body) in CALLS[kind].items():

        async def asked(account: UUID, operation: UUID, call: tuple[str, str, bytes] = (method, end, body)) -> bytes:
            return await wire.ask(call[0], f"/account/{account}/{kind}/{operation}{call[1]}", call[2])

        account = wire.party.account.key
        operations = {"unknown": uuid4(), "foreign": foreign, **other_kinds}
        assert same({each: await asked(account, key) for each, key in operations.items()}) == [], name
        accounts = {"unknown": uuid4(), "foreign": stranger.account.key}
        assert same({each: await asked(key, own) for each, key in accounts.items()}) == [], name
        pairs = {"both unknown": (uuid4(), uuid4()), "both foreign": (stranger.account.key, foreign)}
        assert same({each: await asked(*keys) for each, keys in pairs.items()}) == [], name
    for end in (f"/{kind}es" if kind in ITEMS else f"/{kind}s", ""):
        accounts = {"unknown": uuid4(), "foreign": stranger.account.key}
        assert same({each: await wire.ask("GET", f"/account/{key}{end}") for each, key in accounts.items()}) == []
    assert await wire.world.snapshot() == before


@pytest.mark.parametrize("kind", ITEMS)
async def test_items_and_unknown_keys(wire: Wire, kind: str) -> None:
    """An item is nothing that a token opens, its batch waiting or approved; to a stranger it is nothing at all."""
    single, stranger = kind.removesuffix("_batch"), await make_party(wire.world.db)
    theirs, own = await wire.world.request(stranger, kind), await wire.world.request(wire.party, kind)
    for is_approved in (False, True):
        if is_approved:
            await approve(wire, kind, own)
        before = await wire.world.snapshot()
        mine, foreign = await item_of(wire, own), await item_of(wire, theirs)
        path = f"/account/{wire.party.account.key}/{single}"
        for name, (method, end, body) in SINGLE_CALLS.items():
            keys = {"unknown": uuid4(), "foreign": foreign} | ({} if name == "read" else {"own": mine})
            answers = {who: await wire.ask(method, f"{path}/{key}{end}", body) for who, key in keys.items()}
            assert same(answers) == [], name
        assert await wire.world.snapshot() == before


async def item_of(wire: Wire, batch_key: UUID) -> UUID:
    query = "select operation_id from operations where batch_id = $1 and item_no = 1"
    (row,) = await wire.world.fetch(query, batch_key)
    key: UUID = row["operation_id"]
    return key


@pytest.mark.parametrize("kind", ITEMS)
async def test_keys_that_are_free_however_a_stranger_uses_them(wire: Wire, kind: str) -> None:
    """Items whose keys serve another integrator are accepted like fresh ones."""
    stranger = await make_party(wire.world.db)
    path, answers = f"/account/{wire.party.account.key}/{kind}", {}
    for name in ("fresh", "a stranger's"):
        body = body_of(stranger, kind)
        if name != "fresh":
            theirs = f"/account/{stranger.account.key}/{kind}"
            assert (await wire.world.call("POST", theirs, body, key=stranger.api_key)).status == 202
        content = json.dumps(body | {"tfa_info": wire.party.tfa_info}).encode()
        answers[name] = await wire.ask("POST", path, content)
    assert answers["fresh"].startswith(b"HTTP/1.1 202")
    assert same(answers) == []


async def guesses(wire: Wire, operation_key: UUID) -> dict[str, str]:
    """Every sort of token one may hold for an operation."""
    token = await wire.world.token(wire.party, operation_key)
    earlier = await wire.world.token(wire.party, operation_key, 1)
    other = await wire.world.request(wire.party)
    return {
        "right": token,
        "superseded": earlier,
        "first symbol wrong": wrong_of(token, 0),
        "last symbol wrong": wrong_of(token, 5),
        "all wrong": "".join("1" if symbol != "1" else "2" for symbol in token),
        "another operation's": await wire.world.token(wire.party, other),
        "letters": "UUUUUU",
    }


async def with_second_generation(wire: Wire, kind: str) -> UUID:
    key = await wire.world.request(wire.party, kind)
    await wire.world.advance(key, 40)
    path = f"/account/{wire.party.account.key}/{kind}/{key}/resend_token"
    assert (await wire.world.call("PATCH", path, key=wire.party.api_key)).status == 202
    return key


async def expire(wire: Wire, kind: str, key: UUID) -> None:
    await wire.world.advance(key, 301)


async def exhaust(wire: Wire, kind: str, key: UUID) -> None:
    wrong = wrong_of(await wire.world.token(wire.party, key), 3)
    for _ in range(5):
        await wire.world.validate(wire.party, kind, key, wrong)


async def cancel(wire: Wire, kind: str, key: UUID) -> None:
    path = f"/account/{wire.party.account.key}/{kind}/{key}/cancel"
    assert (await wire.world.call("PATCH", path, key=wire.party.api_key)).status == 200


async def approve(wire: Wire, kind: str, key: UUID) -> None:
    reply = await wire.world.validate(wire.party, kind, key, await wire.world.token(wire.party, key))
    assert reply.status == (201 if kind in ITEMS else 202)


async def overdue(wire: Wire, kind: str, key: UUID) -> None:
    """The window is over, and some call has seen it: T7 is stored."""
    await wire.world.advance(key, 3601)
    assert (await wire.world.validate(wire.party, kind, key, "UUUUUU")).status in (400, 404)


async def lose_the_key(wire: Wire, kind: str, key: UUID) -> None:
    """The key of the challenge's `kid` is gone: no comparison can be made."""
    await wire.world.execute("update challenges set kid = 'gone' where operation_id = $1", key)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("happening", [expire, exhaust, cancel, approve, overdue, lose_the_key])
async def test_right_and_wrong_tokens_where_none_may_be_compared(
    wire: Wire, kind: str, happening: Callable[[Wire, str, UUID], Awaitable[None]]
) -> None:
    key = await with_second_generation(wire, kind)
    tokens = await guesses(wire, key)
    await happening(wire, kind, key)
    before = await wire.world.snapshot()
    assert same({name: await wire.validate(kind, key, token) for name, token in tokens.items()}) == []
    assert await wire.world.snapshot() == before


@pytest.mark.parametrize("kind", KINDS)
async def test_right_and_wrong_tokens_while_the_approver_is_locked(wire: Wire, kind: str) -> None:
    await wire.world.execute(
        "update integrators set budgets = true, version = version + 1 where integrator_id = $1", wire.party.key
    )
    key = await with_second_generation(wire, kind)
    tokens = await guesses(wire, key)
    await wire.world.execute(
        "insert into comparisons select integrator_id, operation_id, no, 1, 'wrong', 'crockford32', approver_id, true,"
        " clock_timestamp() - interval '1 hour' from operations cross join generate_series(2, 5) no"
        " where integrator_id = $1",
        wire.party.key,
    )
    before = await wire.world.snapshot()
    answers = {name: await wire.validate(kind, key, token) for name, token in tokens.items()}
    assert b"approver_locked" in answers["right"]
    assert same({name: _SECONDS.sub(b"#", answer) for name, answer in answers.items()}) == []
    assert await wire.world.snapshot() == before


@pytest.mark.parametrize("kind", KINDS)
async def test_wrong_tokens_answer_alike_wherever_they_differ(wire: Wire, kind: str) -> None:
    """Each is compared once, on an operation of its own; then each uses the last attempt."""
    answers, last = {}, {}
    for place in (0, 2, 5, None):
        key = await wire.world.request(wire.party, kind)
        token = await wire.world.token(wire.party, key)
        wrong = wrong_of(token, place) if place is not None else "UUUUUU"
        answers[f"symbol {place}"] = await wire.validate(kind, key, wrong)
        for _ in range(3):
            await wire.validate(kind, key, wrong)
        last[f"symbol {place}"] = await wire.validate(kind, key, wrong)
    assert same(answers) == []
    assert same(last) == []
    verdicts = await wire.world.fetch("select verdict from comparisons where integrator_id = $1", wire.party.key)
    assert {row["verdict"] for row in verdicts} == {"wrong"}


async def test_callers_who_are_nobody(wire: Wire) -> None:
    """Bearer keys that were never given, were revoked, or belong to an integrator switched off."""
    revoked = await make_credential(wire.world.db, wire.party.key)
    await wire.world.execute(
        "update credentials set revoked_at = clock_timestamp() where credential_id = $1", revoked.credential.key
    )
    off = await make_party(wire.world.db)
    await wire.world.execute("update integrators set active = false where integrator_id = $1", off.key)
    unknown = wire.party.api_key[:-6] + ("AAAAAA" if wire.party.api_key[-6:] != "AAAAAA" else "BBBBBB")
    keys = {"unknown": unknown, "revoked": revoked.api_key, "off": off.api_key, "malformed": "aval_live_x", "odd": "é"}
    for method, path, body in (
        ("GET", f"/account/{wire.party.account.key}", b""),
        ("PUT", f"/account/{wire.party.account.key}/ted/{uuid4()}/validate_token", b'{"token":"000000"}'),
        ("POST", f"/account/{wire.party.account.key}/pix_transfer", b"{}"),
    ):
        assert same({name: await wire.ask(method, path, body, key=key) for name, key in keys.items()}) == []


async def test_signers_who_are_nobody(wire: Wire) -> None:
    """A client key that was never given and one that was revoked."""
    signer = new_signing_key()
    revoked = await make_credential(wire.world.db, wire.party.key, public_key=pem_of(signer))
    await wire.world.execute(
        "update credentials set revoked_at = clock_timestamp() where credential_id = $1", revoked.credential.key
    )
    path = f"/account/{wire.party.account.key}"
    client_keys = {"unknown": uuid4(), "revoked": revoked.credential.api_client_key}
    answers = {
        name: await wire.ask("GET", path, key=None, **signed_headers(signer, client_key, "GET", path))
        for name, client_key in client_keys.items()
    }
    assert same(answers) == []


async def test_devices_and_sessions_that_are_nobodys(wire: Wire) -> None:
    """A session that never was, and one whose integrator is off; a device unknown, foreign, pending and revoked."""
    world, party = wire.world, await passkey_party(wire.world)
    own = await registered(world, party, AppKey())
    signing = await request_by_device(own)
    off = await request_by_device(await registered(world, await passkey_party(world), AppKey()))
    foreign = off.enrollment.device_key
    await world.execute("update integrators set active = false where integrator_id = $1", off.enrollment.party.key)
    pending = Enrollment(world, party, AppKey())
    assert (await pending.requested()).status == 202
    revoked = await registered(world, party, AppKey())
    assert (await revoked.call("DELETE", "/disable")).status == 200
    session = await signing.open()
    devices = {"unknown": uuid4(), "foreign": foreign, "pending": pending.device_key, "revoked": revoked.device_key}
    devices |= {"own, wrong key": own.device_key}
    before = await world.snapshot()

    async def sign(session_id: UUID, device_key: UUID) -> bytes:
        body = json.dumps(signed_body(AppKey(), device_key, session)).encode()
        return await wire.ask("POST", f"/device_sessions/{session_id}/approve", body, key=None)

    assert same({name: await sign(signing.session_id, key) for name, key in devices.items()}) == []
    sessions = {"unknown": uuid4(), "off": off.session_id, "of a registration": own.session_id}
    assert same({name: await sign(each, own.device_key) for name, each in sessions.items()}) == []
    assert same({n: await wire.ask("GET", f"/device_sessions/{each}", key=None) for n, each in sessions.items()}) == []
    reads = {"unknown": uuid4(), "foreign": foreign}
    for method, end in (("GET", ""), ("PATCH", "/resend_token"), ("DELETE", "/disable")):
        path = f"/account/{party.account.key}/device"
        asked = {name: await wire.ask(method, f"{path}/{key}{end}", key=party.api_key) for name, key in reads.items()}
        assert same(asked) == []
    assert await world.snapshot() == before


async def test_the_comparison_of_answers_sees_a_difference(wire: Wire) -> None:
    key = await wire.world.request(wire.party)
    answers = {"wrong": await wire.validate("pix_transfer", key, "UUUUUU"), "malformed": b"HTTP/1.1 400 Bad\r\n"}
    assert same(answers) == ["malformed"]
    assert masked(f"at 2026-11-22T08:30:00.123Z {uuid4()}".encode()) == b"at <time> <key>"
