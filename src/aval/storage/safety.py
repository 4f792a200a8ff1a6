"""Judges whether a database may be trusted with attempts and money (promises.md D19): facts first, then the verdict."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from aval.storage.database import Connection
from aval.storage.manifest import Drift, schema_drift
from aval.storage.roles import OWNER, ROLES

SERVER_VERSION_MIN = 150000  # DESIGN.md §1
CLOCK_DRIFT_MAX = timedelta(seconds=1)
MUST_BE_ON = ("fsync", "full_page_writes")
MUST_BE_OFF = ("zero_damaged_pages", "ignore_checksum_failure")
MUST_BE_LIMITED = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
LOGS_STATEMENTS = ("log_min_duration_statement", "log_min_duration_sample", "auto_explain.log_min_duration")

Severity = Literal["refuse", "warn"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: Aval does not start while any `refuse` is left."""

    name: str
    severity: Severity
    what_to_do: str


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What was seen through one connection of a process, with the role it works under."""

    version: int
    settings: Mapping[str, str]
    role: str
    role_is_superuser: bool
    role_bypasses_rls: bool
    role_is_owner: bool
    unsafe_roles: Sequence[str] = ()
    unlogged: Sequence[str] = ()
    drift: Sequence[Drift] = ()
    remote_hosts: Sequence[str] = ()
    verifies_server: bool = True
    clock_drift: timedelta = field(default=timedelta(0))


async def unsafe_settings(
    connection: Connection, *, dsn: str | None = None, clock: Callable[[], datetime] | None = None
) -> list[Finding]:
    """Look at everything of D19 that a database can show; `connection` must come from a `Database` of the process.

    Pass the `dsn` it was opened with, whose transport is judged, and a `clock` to have the drift measured.
    """
    return judge(await database_facts(connection, dsn=dsn, clock=clock))


async def database_facts(
    connection: Connection, *, dsn: str | None = None, clock: Callable[[], datetime] | None = None
) -> DatabaseFacts:
    """Read the facts, changing nothing."""
    role = await connection.fetchrow(
        """
        select rolname, rolsuper, rolbypassrls,
               exists (select from pg_class where relnamespace = to_regnamespace('aval') and relowner = r.oid)
               or exists (select from pg_roles o where o.rolname = $1 and pg_has_role(r.oid, o.oid, 'USAGE')) as owns
          from pg_roles r where rolname = current_user
        """,
        OWNER,
    )
    assert role is not None, "the current role is in the catalogue"
    return DatabaseFacts(
        version=await connection.fetchval("select current_setting('server_version_num')::int"),
        settings={
            row["name"]: row["setting"] for row in await connection.fetch("select name, setting from pg_settings")
        },
        role=role["rolname"],
        role_is_superuser=role["rolsuper"],
        role_bypasses_rls=role["rolbypassrls"],
        role_is_owner=role["owns"],
        unsafe_roles=await _names(
            connection,
            "select rolname from pg_roles where rolname = any($1) and (rolsuper or rolbypassrls or rolcanlogin)",
            list(ROLES),
        ),
        unlogged=await _names(
            connection,
            "select relname from pg_class where relnamespace = to_regnamespace('aval') and relpersistence = 'u'",
        ),
        drift=await schema_drift(connection),
        remote_hosts=await _remote_hosts(connection, dsn),
        verifies_server=verifies(dsn),
        clock_drift=await _clock_drift(connection, clock),
    )


def judge(facts: DatabaseFacts) -> list[Finding]:
    """Decide from the facts alone; empty when nothing is wrong."""
    return [
        *_server_findings(facts.settings),
        *_commit_findings(facts.settings),
        *_logging_findings(facts.settings),
        *_role_findings(facts),
        *_schema_findings(facts),
        *_surroundings_findings(facts),
    ]


def hosts_of(dsn: str) -> tuple[str, ...]:
    """The hosts and socket directories a DSN names; empty when it leaves them to the environment."""
    parts = urlsplit(dsn)
    named = [unquote(parts.netloc.rpartition("@")[2]), *parse_qs(parts.query).get("host", [])]
    return tuple(_without_port(host) for entry in named for host in entry.split(",") if host)


def verifies(dsn: str | None) -> bool:
    """Tell whether a DSN demands a certificate that is valid for the very name it connects to."""
    return parse_qs(urlsplit(dsn or "").query).get("sslmode", [""])[-1] == "verify-full"


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.startswith("/") else host.partition(":")[0]


def _is_local(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith(("/", "127."))


def _server_findings(settings: Mapping[str, str]) -> Iterator[Finding]:
    for name in MUST_BE_ON:
        if settings.get(name) != "on":
            yield _refused(name, f"Set {name} = on: without it a crash gives attempts back or loses answers.")
    for name in MUST_BE_OFF:
        if settings.get(name, "off") != "off":
            yield _refused(name, f"Set {name} = off: it would hide damaged data.")
    for name in MUST_BE_LIMITED:
        if settings.get(name, "0") == "0":
            yield _refused(name, f"Give {name} a limit: 0 lets one stuck session hold up all others.")
    if settings.get("data_checksums") != "on":
        yield Finding("data_checksums", "warn", "Switch data checksums on with pg_checksums while the server is down.")


def _commit_findings(settings: Mapping[str, str]) -> Iterator[Finding]:
    commits = settings.get("synchronous_commit", "off")
    if commits == "off":
        yield _refused("synchronous_commit", "Set synchronous_commit = on: an answer must outlive a crash.")
    elif commits == "local" and settings.get("synchronous_standby_names"):
        yield _refused("synchronous_commit", "Set synchronous_commit = on: a commit has to reach the named standby.")
    if settings.get("session_replication_role", "origin") != "origin":
        yield _refused("session_replication_role", "Set session_replication_role = origin: others switch triggers off.")


def _logging_findings(settings: Mapping[str, str]) -> Iterator[Finding]:
    if settings.get("log_statement") in ("all", "mod"):
        yield _refused("log_statement", "Set log_statement = none (or ddl): statements carry personal data.")
    if settings.get("log_parameter_max_length_on_error", "0") != "0":
        yield _refused("log_parameter_max_length_on_error", "Set log_parameter_max_length_on_error = 0.")
    logs_statements = any(settings.get(name, "-1") != "-1" for name in LOGS_STATEMENTS)
    logs_samples = float(settings.get("log_transaction_sample_rate", "0")) > 0
    if (logs_statements or logs_samples) and settings.get("log_parameter_max_length", "-1") != "0":
        yield _refused(
            "log_parameter_max_length",
            "Set log_parameter_max_length = 0, or log no slow or sampled statements: their values are personal data.",
        )


def _role_findings(facts: DatabaseFacts) -> Iterator[Finding]:
    if facts.role_is_superuser:
        yield _refused("role_superuser", f"Let the process take a role of its own: {facts.role} is a superuser.")
    if facts.role_bypasses_rls:
        yield _refused("role_bypassrls", f"Run: alter role {facts.role} nobypassrls.")
    if facts.role_is_owner and not facts.role_is_superuser:
        yield _refused("role_owner", f"Let the process take a role of its own: {facts.role} owns Aval's tables.")
    for role in facts.unsafe_roles:
        yield _refused(f"role:{role}", f"Run: alter role {role} nologin nosuperuser nobypassrls.")


def _schema_findings(facts: DatabaseFacts) -> Iterator[Finding]:
    for table in facts.unlogged:
        yield _refused(f"unlogged:{table}", f"Run: alter table aval.{table} set logged. A crash would empty it.")
    for drift in facts.drift:
        name = f"{drift.change}:{drift.kind}:{drift.name}"
        if drift.change == "added":
            if drift.kind == "grant":
                yield Finding(name, "warn", f"Somebody granted {drift.name}; revoke it unless it is meant.")
        else:
            yield _refused(
                name,
                f"The {drift.kind} {drift.name} is {drift.change}; run `aval migrate`, or put it back as released.",
            )


def _surroundings_findings(facts: DatabaseFacts) -> Iterator[Finding]:
    if facts.version < SERVER_VERSION_MIN:
        yield _refused("server_version", "Use PostgreSQL 15 or newer.")
    if facts.remote_hosts and not facts.verifies_server:
        hosts = ", ".join(facts.remote_hosts)
        yield _refused("tls", f"Add sslmode=verify-full and sslrootcert to the DSN: {hosts} is reached over a network.")
    if abs(facts.clock_drift) > CLOCK_DRIFT_MAX:
        seconds = facts.clock_drift.total_seconds()
        yield Finding(
            "clock_drift", "warn", f"Keep both clocks by NTP: the database's is {seconds:+.1f} s off this one."
        )


def _refused(name: str, what_to_do: str) -> Finding:
    return Finding(name, "refuse", what_to_do)


async def _names(connection: Connection, query: str, *arguments: object) -> list[str]:
    return [row[0] for row in await connection.fetch(f"{query} order by 1", *arguments)]  # noqa: S608 - constants only


async def _remote_hosts(connection: Connection, dsn: str | None) -> tuple[str, ...]:
    """A DSN may name no host; then the server tells where it was reached."""
    if dsn is not None and (named := hosts_of(dsn)):
        return tuple(host for host in named if not _is_local(host))
    reached = await connection.fetchval("select host(inet_server_addr())")
    return () if reached is None or _is_local(reached) else (reached,)


async def _clock_drift(connection: Connection, clock: Callable[[], datetime] | None) -> timedelta:
    """Half-way between asking and hearing is when the database read its clock."""
    if clock is None:
        return timedelta(0)
    asked = clock()
    told: datetime = await connection.fetchval("select clock_timestamp()")
    return told - (asked + (clock() - asked) / 2)
