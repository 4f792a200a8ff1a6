"""Parked work and webhooks, seen and made due again from the command line."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from aval.operations.register_webhook_endpoint import register_webhook_endpoint
from aval.ports import RailAnswer, RailStatus
from aval.storage.keys_file import KeysFile
from tests.cli.conftest import Command
from tests.factories import AUTHOR, Party, make_keyring
from tests.operations.settling import SENT, UNSEEN, Script, approved, job_of, make_due, work, worker_db
from tests.stage import Stage
from tests.stage_fixtures import own_stage

__all__ = ["own_stage"]
SILENT = RailAnswer(RailStatus.UNKNOWN)
TYPES = ["baas.pix_transfer.outgoing_pix"]


@pytest.fixture
def admin(command: Command, keys: KeysFile):
    """Run `aval admin … --json` beside the running loop, and read its document."""
    keys.create()

    async def run(*words: str, code: int = 0) -> Any:
        ended = await asyncio.to_thread(command, "admin", *words, "--json")
        assert ended.exit_code == code, ended.output
        return json.loads(ended.stdout) if ended.stdout else ended.stderr

    return run


async def parked(stage: Stage) -> tuple[Party, UUID]:
    """An approved transfer whose rail stayed silent too often."""
    party = await stage.party()
    key = await approved(stage, party)
    db = await worker_db(stage)
    for answers in ([SILENT], [SILENT], [SILENT]):
        await make_due(stage)
        await work(db, Script(answers))
    assert (await job_of(stage, key))[0] == "parked"
    return party, key


async def test_a_parked_settlement_is_seen_revived_and_asked_after_before_anything_is_sent(own_stage: Stage, admin):
    party, key = await parked(own_stage)
    (row,) = await admin("settlements", "parked")
    assert (row["operation_key"], row["integrator_key"], row["tries"]) == (str(key), str(party.key), 3)
    assert (row["rail_status"], row["last_error"], row["sends"]) == ("unknown", "no_answer", 1)
    assert await admin("settlements", "revive", str(key)) == {"revived": 1}
    assert await admin("settlements", "parked") == []
    rail = Script([SENT])
    await work(await worker_db(own_stage), rail)
    assert rail.calls == ["query"]
    assert (await job_of(own_stage, key))[:2] == ("done", "sent")
    acts = await own_stage.fetch("select actor, operation_id, details from audit where action = 'settlement.revived'")
    ((actor, operation, details),) = acts
    assert (actor, operation) == ("admin:command-line", key)
    assert details["before"] == {"state": "parked", "tries": 3, "last_error": "no_answer"}


async def test_a_revived_settlement_is_sent_only_when_the_rail_has_never_seen_it(own_stage: Stage, admin):
    _, key = await parked(own_stage)
    # Even a job of which nothing is known any more is asked after first.
    await own_stage.execute("update settlement_jobs set rail_status = null where operation_id = $1", key)
    await admin("settlements", "revive", "--all")
    rail = Script([UNSEEN, SENT])
    await work(await worker_db(own_stage), rail)
    assert rail.calls == ["query", "settle"]


async def test_all_of_one_integrator_are_revived_and_nobody_elses(own_stage: Stage, admin):
    party, _ = await parked(own_stage)
    assert await admin("settlements", "revive", "--all", "--integrator", str(uuid4())) == {"revived": 0}
    assert await admin("settlements", "parked", "--integrator", str(uuid4())) == []
    assert await admin("settlements", "revive", "--all", "--integrator", str(party.key)) == {"revived": 1}
    assert await admin("settlements", "revive", "--all") == {"revived": 0}


async def test_only_what_is_parked_is_revived(own_stage: Stage, admin):
    party = await own_stage.party()
    key = await approved(own_stage, party)
    before = await job_of(own_stage, key)
    for words in ([str(key)], [str(uuid4())]):
        assert "must name something that is parked" in await admin("settlements", "revive", *words, code=2)
    assert await job_of(own_stage, key) == before
    for words in ([], [str(key), "--all"], [str(key), "--integrator", str(key)], ["x"]):
        await admin("settlements", "revive", *words, code=2)


async def test_a_parked_message_is_seen_masked_and_revived(own_stage: Stage, admin):
    party = await own_stage.party()
    await own_stage.request(party)
    await own_stage.execute("update outbox set state = 'parked', claim_count = 20, finished_at = clock_timestamp()")
    (row,) = await admin("messages", "parked")
    assert (row["topic"], row["tries"], row["integrator_key"]) == ("token", 20, str(party.key))
    assert "***" in row["masked_destination"]
    assert await admin("messages", "revive", row["message_key"]) == {"revived": 1}
    state = "select state, claim_count, finished_at from outbox"
    assert await own_stage.fetch(state) == [("ready", 0, None)]
    assert await own_stage.value("select count(*) from audit where action = 'message.revived'") == 1
    assert await admin("messages", "parked") == []


async def told(stage: Stage, party: Party, url: str = "https://example.com/hook?secret=1") -> UUID:
    endpoint, _ = await register_webhook_endpoint(
        stage.db,
        integrator_key=party.key,
        url=url,
        event_types=TYPES,
        headers={},
        keyring=make_keyring(),
        author=AUTHOR,
    )
    return endpoint.key


@pytest.fixture
async def failed(own_stage: Stage) -> tuple[Party, UUID, UUID]:
    """A party with two endpoints, to which one event could not be brought."""
    party = await own_stage.party()
    first, second = await told(own_stage, party), await told(own_stage, party)
    await approved(own_stage, party)
    await work(await worker_db(own_stage), Script([SENT]))
    await own_stage.execute(
        "update callbacks set status = 'failed', claim_count = 8, last_status = 500, last_error = 'status'"
    )
    return party, first, second


def span() -> list[str]:
    now = datetime.now(UTC)
    days = (now - timedelta(days=1), now + timedelta(days=1))
    return [word for name, day in zip(("--from", "--to"), days, strict=True) for word in (name, f"{day:%Y-%m-%d}")]


async def test_the_log_tells_tries_and_the_last_answer(own_stage: Stage, admin, failed):
    party, first, _ = failed
    rows = await admin("webhooks", "log", "--integrator", str(party.key))
    assert [(row["tries"], row["last_status"], row["last_error"]) for row in rows] == [(8, 500, "status")] * 2
    assert {row["url"] for row in rows} == {"https://example.com/hook"} and rows[0]["next_try_at"] is None
    one = await admin("webhooks", "log", "--integrator", str(party.key), "--endpoint", str(first), *span())
    assert [row["endpoint_key"] for row in one] == [str(first)]
    assert await admin("webhooks", "log", "--integrator", str(party.key), "--status", "sent") == []


async def test_a_replay_renews_what_failed_in_the_stretch_once_under_the_same_event(own_stage: Stage, admin, failed):
    party, first, second = failed
    events = await own_stage.fetch("select event_id, body from events order by event_id")
    asked = ["webhooks", "replay", "--integrator", str(party.key), *span()]
    found = {"found": 2, "endpoint_off": 0, "replayed": 0, "dry_run": True}
    assert await admin(*asked, "--dry-run") == found
    assert await own_stage.value("select count(*) from callbacks where status = 'failed'") == 2
    one = await admin(*asked, "--endpoint", str(first))
    assert (one["found"], one["replayed"]) == (1, 1)
    await own_stage.execute("update webhook_endpoints set enabled = false where endpoint_id = $1", second)
    off = await admin(*asked)
    assert (off["found"], off["endpoint_off"], off["replayed"]) == (0, 1, 0)
    state = "select endpoint_id = $1, status, claim_count from callbacks order by 1"
    assert await own_stage.fetch(state, first) == [(False, "failed", 8), (True, "pending", 0)]
    assert await own_stage.fetch("select event_id, body from events order by event_id") == events
    ((details,),) = await own_stage.fetch("select details from audit where action = 'callbacks.replayed'")
    assert len(details["callbacks"]) == 1 and details["before"] == {"status": "failed"}


async def test_a_replay_goes_in_bounded_batches_and_in_the_order_of_events(
    own_stage: Stage, admin, failed, monkeypatch: pytest.MonkeyPatch
):
    party, _, _ = failed
    for _ in range(2):
        await approved(own_stage, party)
    while await own_stage.value("select count(*) from settlement_jobs where state = 'ready'"):
        await make_due(own_stage)
        await own_stage.execute(
            "update settlement_jobs set due_at = 'infinity' where state = 'ready' and operation_id <>"
            " (select operation_id from settlement_jobs where state = 'ready' order by operation_id limit 1)"
        )
        await work(await worker_db(own_stage), Script([SENT]))
    await own_stage.execute("update callbacks set status = 'failed'")
    monkeypatch.setattr("aval.operations.replay_webhooks.BATCH_MAX", 4)
    report = await admin("webhooks", "replay", "--integrator", str(party.key), *span())
    assert (report["found"], report["replayed"]) == (6, 6)
    sizes = (
        "select jsonb_array_length(details -> 'callbacks') from audit where action = 'callbacks.replayed' order by at"
    )
    assert await own_stage.fetch(sizes) == [(4,), (2,)]
    ordered = await own_stage.fetch(
        "select e.created_at from callbacks c join events e using (event_id) order by c.due_at, c.callback_id"
    )
    assert ordered == sorted(ordered)


@pytest.mark.parametrize(
    "words",
    [
        ["--from", "2026-11-02", "--to", "2026-11-01"],
        ["--from", "2026-01-01", "--to", "2026-11-01"],
        ["--from", "yesterday", "--to", "2026-11-01"],
        ["--from", "2026-11-01T10:00:00", "--to", "2026-11-02"],
        ["--from", "2026-11-01"],
        ["--from", "2026-11-01", "--to", "2026-11-02", "--status", "lost"],
        ["--from", "2026-11-01", "--to", "2026-11-02"],
    ],
)
async def test_a_stretch_that_is_none_and_an_unknown_integrator_are_refused(admin, own_stage: Stage, words: list[str]):
    assert await admin("webhooks", "replay", "--integrator", str(uuid4()), *words, code=2)
