"""Points accounts: a line and the balance it leaves are one statement, and no account falls below 0."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from aval.domain.campaign import Campaign, TwoFactorPolicy
from aval.domain.participant import Participant
from aval.domain.points import Balance, EntryType, PointsEntry
from aval.storage.campaigns import StoredCampaign, insert_campaign
from aval.storage.database import CheckViolation, Database, RestrictViolation
from aval.storage.participants import KeptDocument, insert_participant
from aval.storage.points import find_balance, list_lines, lock_points_accounts, post_entries

NOW = datetime(2026, 3, 4, 18, tzinfo=UTC)


def a_campaign(campaign_id: str = "40510") -> Campaign:
    return Campaign(
        key=uuid4(),
        campaign_id=campaign_id,
        client_id="cliente",
        name="Verão",
        mode="live",
        status="active",
        locale="pt-BR",
        timezone="America/Sao_Paulo",
        catalogs={"gold": "Ouro"},
        vendors={"loja-sol": "Loja Sol"},
        policy_version=1,
        policy=TwoFactorPolicy(),
    )


def a_participant(tenant: UUID, username: str = "helena") -> Participant:
    return Participant(
        integrator_key=tenant,
        key=uuid4(),
        external_id=None,
        name="Helena Prado",
        username=username,
        person_type="INDIVIDUAL",
        status="ACTIVE",
        catalog_id="gold",
        created_at=NOW,
        updated_at=NOW,
    )


async def enter(db: Database, participant: Participant) -> tuple[UUID, UUID]:
    document = KeptDocument(participant.key.bytes * 2, b"sealed", "***444777**")
    async with db.transaction() as connection:
        await insert_participant(connection, participant, document, profile_sealed=b"sealed")
    return participant.integrator_key, participant.key


@pytest.fixture
async def account(db: Database) -> AsyncIterator[tuple[UUID, UUID]]:
    campaign = a_campaign()
    async with db.transaction() as connection:
        await insert_campaign(connection, StoredCampaign(campaign, None, NOW, NOW), changed_by="test")
    yield await enter(db, a_participant(campaign.key))


def an_entry(
    account: tuple[UUID, UUID], entry_type: str, points: int, *, purchase_key: UUID | None = None
) -> PointsEntry:
    return PointsEntry(
        integrator_key=account[0],
        participant_key=account[1],
        key=uuid4(),
        entry_type=EntryType(entry_type),
        points=points,
        authorization_code="7QH2M4ZX9C1B",
        description="Campanha",
        correlation_id="c-1",
        created_at=NOW,
        purchase_key=purchase_key,
    )


async def post(db: Database, *entries: PointsEntry) -> list[Balance]:
    async with db.transaction() as connection:
        return list((await post_entries(connection, entries)).values())


async def test_lines_of_one_call_count_one_after_the_other(db: Database, account: tuple[UUID, UUID]) -> None:
    posted = await post(
        db, an_entry(account, "credit", 100), an_entry(account, "expiration", 30), an_entry(account, "adjustment", -20)
    )
    assert posted == [Balance(available=50, reserved=0, credited=100, debited=50)]
    async with db.reading() as connection:
        lines, total = await list_lines(connection, *account, start_at=None, end_at=None, offset=0, limit=10)
    assert [(line.entry_type.value, line.points, line.available_after) for line in lines] == [
        ("adjustment", -20, 50),
        ("expiration", 30, 70),
        ("credit", 100, 100),
    ]
    assert total == 3


async def test_an_account_that_a_line_would_take_below_zero_is_left_alone_and_the_others_move(
    db: Database, account: tuple[UUID, UUID]
) -> None:
    other = await enter(db, a_participant(account[0], "outra"))
    posted = await post(
        db,
        an_entry(account, "expiration", 1),
        an_entry(account, "credit", 5),  # would make good what the line before it lacked; it comes too late
        an_entry(other, "credit", 7),
    )
    assert posted == [Balance(available=7, credited=7)]
    async with db.reading() as connection:
        assert await find_balance(connection, *account) == Balance()
        assert await connection.fetchval("select count(*) from points_entries") == 1


async def test_two_that_together_exceed_an_account_do_not_both_get_their_points(
    db: Database, account: tuple[UUID, UUID]
) -> None:
    await post(db, an_entry(account, "credit", 10))
    results = await asyncio.gather(*(post(db, an_entry(account, "expiration", 4)) for _ in range(6)))
    assert sorted(map(len, results)) == [0, 0, 0, 0, 1, 1]
    async with db.reading() as connection:
        assert await find_balance(connection, *account) == Balance(available=2, credited=10, debited=8)
        numbers = await connection.fetch("select entry_no, available_after from points_entries order by entry_no")
    assert [tuple(row) for row in numbers] == [(1, 10), (2, 6), (3, 2)]


async def test_reserved_points_never_fall_below_zero(db: Database, account: tuple[UUID, UUID]) -> None:
    with pytest.raises(CheckViolation):
        await post(db, an_entry(account, "debit", 1, purchase_key=uuid4()))


async def test_unknown_accounts_are_left_out_and_nothing_asked_is_nothing_done(
    db: Database, account: tuple[UUID, UUID]
) -> None:
    assert await post(db, an_entry((account[0], uuid4()), "credit", 1)) == []
    assert await post(db) == []
    async with db.transaction() as connection:
        assert await lock_points_accounts(connection, [account, (account[0], uuid4())]) == {account: Balance()}
        assert await lock_points_accounts(connection, []) == {}


async def test_ledger_lines_are_never_changed_or_deleted(db: Database, account: tuple[UUID, UUID]) -> None:
    await post(db, an_entry(account, "credit", 1))
    for statement in ("update points_entries set points = 2", "delete from points_entries"):
        with pytest.raises(RestrictViolation):
            async with db.transaction() as connection:
                await connection.execute(statement)
