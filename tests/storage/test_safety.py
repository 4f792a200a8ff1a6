"""The settings gate: every row of D19 that a database can show, one by one, and once on a real server."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from aval.storage.database import Database
from aval.storage.manifest import Drift
from aval.storage.safety import DatabaseFacts, hosts_of, judge, unsafe_settings, verifies

SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "synchronous_standby_names": "",
    "zero_damaged_pages": "off",
    "ignore_checksum_failure": "off",
    "session_replication_role": "origin",
    "lock_timeout": "2000",
    "statement_timeout": "5000",
    "idle_in_transaction_session_timeout": "10000",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "0",
    "log_transaction_sample_rate": "0",
    "data_checksums": "on",
}
SAFE = DatabaseFacts(
    version=160004,
    settings=SETTINGS,
    role="aval_app_api",
    role_is_superuser=False,
    role_bypasses_rls=False,
    role_is_owner=False,
)


def test_a_safe_database_has_no_findings() -> None:
    assert judge(SAFE) == []
    assert judge(replace(SAFE, settings=SETTINGS | {"log_statement": "ddl", "synchronous_commit": "local"})) == []


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"fsync": "off"}, ["fsync"]),
        ({"full_page_writes": "off"}, ["full_page_writes"]),
        ({"synchronous_commit": "off"}, ["synchronous_commit"]),
        ({"synchronous_commit": "local", "synchronous_standby_names": "s1"}, ["synchronous_commit"]),
        ({"synchronous_commit": "remote_apply", "synchronous_standby_names": "s1"}, []),
        ({"zero_damaged_pages": "on"}, ["zero_damaged_pages"]),
        ({"ignore_checksum_failure": "on"}, ["ignore_checksum_failure"]),
        ({"session_replication_role": "replica"}, ["session_replication_role"]),
        ({"session_replication_role": "local"}, ["session_replication_role"]),
        ({"lock_timeout": "0"}, ["lock_timeout"]),
        ({"statement_timeout": "0"}, ["statement_timeout"]),
        ({"idle_in_transaction_session_timeout": "0"}, ["idle_in_transaction_session_timeout"]),
        ({"log_statement": "all"}, ["log_statement"]),
        ({"log_statement": "mod"}, ["log_statement"]),
        ({"log_parameter_max_length_on_error": "-1"}, ["log_parameter_max_length_on_error"]),
        ({"log_min_duration_statement": "500"}, ["log_parameter_max_length"]),
        ({"log_min_duration_statement": "500", "log_parameter_max_length": "0"}, []),
        ({"log_transaction_sample_rate": "0.01"}, ["log_parameter_max_length"]),
        ({"auto_explain.log_min_duration": "0"}, ["log_parameter_max_length"]),
    ],
)
def test_each_unsafe_setting_is_refused(changes: dict[str, str], names: list[str]) -> None:
    findings = judge(replace(SAFE, settings=SETTINGS | changes))
    assert [(finding.name, finding.severity) for finding in findings] == [(name, "refuse") for name in names]


@pytest.mark.parametrize(
    ("change", "name", "severity"),
    [
        ({"version": 140012}, "server_version", "refuse"),
        ({"role_is_superuser": True, "role_is_owner": True}, "role_superuser", "refuse"),
        ({"role_bypasses_rls": True}, "role_bypassrls", "refuse"),
        ({"role_is_owner": True}, "role_owner", "refuse"),
        ({"unsafe_roles": ["aval_sealer"]}, "role:aval_sealer", "refuse"),
        ({"unlogged": ["outbox"]}, "unlogged:outbox", "refuse"),
        (
            {"drift": [Drift("trigger", "audit.audit_is_fixed", "missing")]},
            "missing:trigger:audit.audit_is_fixed",
            "refuse",
        ),
        ({"drift": [Drift("function", "refuse_change()", "changed")]}, "changed:function:refuse_change()", "refuse"),
        ({"drift": [Drift("grant", "DELETE on audit to x", "added")]}, "added:grant:DELETE on audit to x", "warn"),
        ({"remote_hosts": ["db.example"], "verifies_server": False}, "tls", "refuse"),
        ({"clock_drift": timedelta(seconds=-1.5)}, "clock_drift", "warn"),
        ({"settings": SETTINGS | {"data_checksums": "off"}}, "data_checksums", "warn"),
    ],
)
def test_each_other_fact_has_its_finding(change: dict[str, object], name: str, severity: str) -> None:
    findings = judge(replace(SAFE, **change))
    assert [(finding.name, finding.severity) for finding in findings] == [(name, severity)]
    assert findings[0].what_to_do.endswith(".")


def test_an_index_somebody_added_is_nobodys_business() -> None:
    assert judge(replace(SAFE, drift=[Drift("index", "reports_idx", "added")])) == []


@pytest.mark.parametrize(
    ("dsn", "hosts"),
    [
        ("postgresql://aval@/aval?host=/run/postgresql&port=5432", ("/run/postgresql",)),
        ("postgresql://aval@%2Frun%2Fpostgresql/aval", ("/run/postgresql",)),
        ("postgresql://aval:p@db.example:5433/aval", ("db.example",)),
        ("postgresql://a:5432,b:5432/aval", ("a", "b")),
        ("postgresql://[fd00::1]:5432/aval", ("fd00::1",)),
        ("postgresql:///aval", ()),
    ],
)
def test_the_hosts_of_a_dsn_are_read(dsn: str, hosts: tuple[str, ...]) -> None:
    assert hosts_of(dsn) == hosts


@pytest.mark.parametrize(
    ("mode", "is_verified"),
    [("", False), ("require", False), ("verify-ca", False), ("verify-full", True)],
)
def test_only_a_checked_name_verifies_the_server(mode: str, is_verified: bool) -> None:
    assert verifies(f"postgresql://db.example/aval?sslmode={mode}") is is_verified


async def findings_of(database: Database, **more: object) -> dict[str, str]:
    async with database.connection() as connection:
        return {finding.name: finding.severity for finding in await unsafe_settings(connection, **more)}


async def test_the_migrated_database_is_safe_for_each_process(
    db_as: Callable[[str], Awaitable[Database]], dsn: str
) -> None:
    clock = lambda: datetime.now(UTC)  # noqa: E731
    for role in ("aval_app_api", "aval_app_settle", "aval_app_notify", "aval_app_webhook"):
        assert await findings_of(await db_as(role), dsn=dsn, clock=clock) == {}


async def test_superuser_and_owner_are_refused(db: Database, db_as: Callable[[str], Awaitable[Database]]) -> None:
    assert await findings_of(db) == {"role_superuser": "refuse", "role_bypassrls": "refuse"}
    assert await findings_of(await db_as("aval_owner")) == {"role_owner": "refuse"}


async def test_what_is_taken_away_from_the_schema_is_named(
    db: Database, db_as: Callable[[str], Awaitable[Database]]
) -> None:
    async with db.connection() as connection:
        for statement in (
            "drop trigger audit_is_fixed on audit",
            "alter table challenges disable trigger challenges_move_by_the_table",
            "alter table comparisons drop constraint comparisons_pkey",
            "drop index credentials_by_api_key",
            "revoke insert on audit from aval_app_api",
            "grant delete on audit to aval_app_api",
            "create or replace function refuse_change() returns trigger language plpgsql as 'begin return new; end'",
            "create unlogged table scratch ()",
        ):
            await connection.execute(statement)
    api = await db_as("aval_app_api")
    assert await findings_of(api) == {
        "missing:trigger:audit.audit_is_fixed": "refuse",
        "changed:trigger:challenges.challenges_move_by_the_table": "refuse",
        "missing:constraint:comparisons.comparisons_pkey": "refuse",
        "missing:index:comparisons_pkey": "refuse",
        "missing:index:credentials_by_api_key": "refuse",
        "missing:grant:INSERT on audit to aval_app_api": "refuse",
        "added:grant:DELETE on audit to aval_app_api": "warn",
        "changed:function:refuse_change()": "refuse",
        "unlogged:scratch": "refuse",
    }


async def test_unsafe_settings_of_the_session_are_seen(db_as: Callable[[str], Awaitable[Database]]) -> None:
    api = await db_as("aval_app_api")
    async with api.transaction() as connection:
        await connection.execute("set local synchronous_commit = off")
        await connection.execute("set local lock_timeout = 0")
        clock = lambda: datetime.now(UTC) + timedelta(seconds=3)  # noqa: E731
        found = await unsafe_settings(connection, clock=clock)
    assert {finding.name for finding in found} == {"synchronous_commit", "lock_timeout", "clock_drift"}


@pytest.mark.parametrize("loss", ["drop schema aval cascade", "delete from schema_manifest"])
async def test_a_lost_manifest_is_noticed(db: Database, loss: str) -> None:
    async with db.connection() as connection:
        await connection.execute(loss)
    assert (await findings_of(db))["missing:table:schema_manifest"] == "refuse"
