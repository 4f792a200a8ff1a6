"""Participants and the points an operator writes: one document, one line per key, never below zero."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from aval.domain.caller import CallerKind
from aval.domain.campaign import Campaign, CampaignData
from aval.domain.errors import Refusal
from aval.domain.participant import Email, NewParticipant, Participant, Profile
from aval.domain.points import Balance, EntryType, PointsLine
from aval.operations.change_participant import change_participant
from aval.operations.create_campaign import create_campaign
from aval.operations.create_participant import create_participant, opened_document, opened_profile
from aval.operations.erase_participant import erase_participant
from aval.operations.post_points import CreditCall, post_points
from aval.operations.record_act import Author
from aval.storage.database import Database
from aval.storage.participants import StoredParticipant, find_participant, find_participants
from aval.storage.points import find_balance
from tests.factories import make_keyring

CPF = "31860492533"
AUTHOR = Author("admin:op-marina", "c-1")
KEYRING = make_keyring()


@dataclass
class Scene:
    api: Database
    campaign: Campaign

    async def person(self, username: str = "helena.prado", document: str = CPF, **more: object) -> StoredParticipant:
        values: dict[str, object] = {"external_id": None, "person_type": "INDIVIDUAL", "catalog_id": "gold"} | more
        person = NewParticipant(
            name="Helena Prado Martins",
            username=username,
            document_number=document,
            status="ACTIVE",
            profile=Profile(emails=(Email("helena@example.com"),)),
            **values,  # type: ignore[arg-type]
        )
        return await create_participant(self.api, campaign=self.campaign, person=person, keyring=KEYRING, author=AUTHOR)

    async def credit(
        self, person: Participant, entry_type: str, points: int, key: str = "k", fingerprint: bytes = b"a"
    ) -> tuple[int, bytes, bool]:
        call = CreditCall(
            integrator_key=self.campaign.key,
            participant_key=person.key,
            entry_type=EntryType(entry_type),
            points=points,
            description="Campanha de verão",
            external_reference=None,
            path=f"/participants/{person.key}/credits",
            idempotency_key=key,
            fingerprint=fingerprint * 32,
            render=rendered,
        )
        return await post_points(self.api, call=call, author=AUTHOR)

    async def balance(self, person: Participant) -> Balance | None:
        async with self.api.reading() as connection:
            return await find_balance(connection, self.campaign.key, person.key)


def rendered(line: PointsLine, balance: Balance) -> tuple[int, bytes]:
    return 201, f"{line.key} {balance.available}".encode()


async def a_campaign(api: Database, campaign_id: str) -> Campaign:
    data = CampaignData(campaign_id=campaign_id, client_id="cliente", name="Verão", catalogs={"gold": "Ouro"})
    return (await create_campaign(api, data=data, author=AUTHOR)).campaign


@pytest.fixture
async def scene(db_as: Callable[[str], Awaitable[Database]]) -> Scene:
    api = await db_as("aval_app_api")
    return Scene(api, await a_campaign(api, "40510"))


async def test_a_participant_is_stored_sealed_and_found_by_log_in_and_document(scene: Scene, db: Database) -> None:
    made = await scene.person()
    key = made.participant.key
    async with db.reading() as connection:
        found = await find_participant(connection, scene.campaign.key, key)
        assert found == made
        for login, index in (("helena.prado", None), (None, KEYRING.index_of(f"cpf:{CPF}"))):
            fitting = await find_participants(connection, scene.campaign.key, login=login, document_index=index)
            assert fitting == [made]
        assert await find_participants(connection, scene.campaign.key, login=None, document_index=None) == []
        assert await find_participants(connection, uuid4(), login="helena.prado", document_index=None) == []
        tables = ("participants", "approvers", "audit", "points_accounts", "events")
        stored = [str(await connection.fetch(f"select * from {table}")) for table in tables]  # noqa: S608
    assert opened_document(KEYRING, made) == CPF
    assert opened_profile(KEYRING, made).emails == (Email("helena@example.com"),)
    assert not any(CPF in text or "example.com" in text for text in stored)
    assert await scene.balance(made.participant) == Balance()


async def test_of_two_with_one_document_or_one_log_in_at_the_same_moment_one_is_stored(scene: Scene) -> None:
    same_document = [scene.person(f"login-{number}") for number in range(4)]
    same_login = [scene.person("login-x", document) for document in ("52998224725", "11144477735", "86288366757")]
    results = await asyncio.gather(*same_document, *same_login, return_exceptions=True)
    kept = [each for each in results if isinstance(each, StoredParticipant)]
    refused = [each for each in results if isinstance(each, Refusal)]
    assert len(kept) == 2
    assert [each.name for each in refused] == ["rdm.participant_exists"] * 5


async def test_the_same_person_may_be_in_two_campaigns(scene: Scene) -> None:
    await scene.person()
    other = Scene(scene.api, await a_campaign(scene.api, "40511"))
    assert (await other.person()).participant.username == "helena.prado"


async def test_a_catalogue_the_campaign_has_not_is_a_wrong_field(scene: Scene) -> None:
    with pytest.raises(Refusal) as refused:
        await scene.person(catalog_id="silver")
    assert refused.value.extra_fields == {"errors": [{"field": "catalog_id", "reason": "invalid_value"}]}


async def test_a_key_writes_one_line_whatever_the_concurrency_and_answers_the_same_bytes(scene: Scene) -> None:
    person = (await scene.person()).participant
    results = await asyncio.gather(*(scene.credit(person, "credit", 100) for _ in range(6)))
    assert len({(status, body) for status, body, _ in results}) == 1
    assert sorted(is_replay for *_, is_replay in results) == [False] + [True] * 5
    assert await scene.balance(person) == Balance(available=100, credited=100)
    with pytest.raises(Refusal) as refused:
        await scene.credit(person, "credit", 100, fingerprint=b"b")
    assert refused.value.name == "rdm.idempotency_conflict"


async def test_what_would_fall_below_zero_is_refused_and_its_key_stays_free(scene: Scene) -> None:
    person = (await scene.person()).participant
    await scene.credit(person, "credit", 10, "k1")
    for entry_type, points in (("expiration", 11), ("adjustment", -11)):
        with pytest.raises(Refusal) as refused:
            await scene.credit(person, entry_type, points, "k2")
        assert refused.value.name == "rdm.insufficient_points"
    await scene.credit(person, "adjustment", -10, "k2")
    assert await scene.balance(person) == Balance(available=0, credited=10, debited=10)


async def test_credits_and_takings_at_the_same_moment_leave_what_the_ledger_says(scene: Scene, db: Database) -> None:
    person = (await scene.person()).participant
    await scene.credit(person, "credit", 30, "first")
    calls = [scene.credit(person, "expiration", 20, f"e{number}") for number in range(5)]
    calls += [scene.credit(person, "credit", 10, f"c{number}") for number in range(3)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    taken = sum(isinstance(each, tuple) for each in results[:5])
    assert 1 <= taken <= 3
    assert await scene.balance(person) == Balance(60 - 20 * taken, 0, 60, 20 * taken)
    async with db.reading() as connection:
        lines = await connection.fetch("select entry_no, available_after from points_entries order by entry_no")
    assert [row["entry_no"] for row in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["available_after"] == 60 - 20 * taken
    assert min(row["available_after"] for row in lines) >= 0


async def test_lines_that_give_points_are_told_numbered_without_a_gap_and_every_line_is_audited(
    scene: Scene, db: Database
) -> None:
    person = (await scene.person()).participant
    for number, (entry_type, points) in enumerate((("credit", 5), ("expiration", 2), ("adjustment", 3))):
        await scene.credit(person, entry_type, points, f"k{number}")
    async with db.reading() as connection:
        events = await connection.fetch("select sequence, event_type, operation_id from events order by sequence")
        acts = await connection.fetch("select action from audit where action like 'points.%' order by at")
    assert [tuple(row) for row in events] == [(n, "points.credited", person.key) for n in (1, 2)]
    assert [row["action"] for row in acts] == ["points.credited", "points.taken", "points.credited"]


async def test_nobody_gets_points_who_is_not_there(scene: Scene) -> None:
    person = (await scene.person()).participant
    other = Scene(scene.api, await a_campaign(scene.api, "40511"))
    with pytest.raises(Refusal) as refused:
        await other.credit(person, "credit", 1)
    assert refused.value.name == "rdm.participant_not_found"


async def test_nobody_changes_or_erases_who_is_not_there(scene: Scene) -> None:
    nobody: Any = {
        "integrator_key": scene.campaign.key,
        "participant_key": uuid4(),
        "keyring": KEYRING,
        "author": AUTHOR,
    }
    change: Any = {"changes": {"status": "INACTIVE"}, "kind": CallerKind.OPERATOR}
    for work in (erase_participant(scene.api, **nobody), change_participant(scene.api, **nobody, **change)):
        with pytest.raises(Refusal) as refused:
            await work
        assert refused.value.name == "rdm.participant_not_found"
