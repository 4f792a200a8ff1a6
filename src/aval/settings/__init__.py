"""Every setting of the deployment, and the only place that reads the environment.

Each field carries its variable, its default as one would write it, and its meaning; docs/reference/settings.md and
.env.example are made from them. A secret may also come from a file: `AVAL_SMTP_URL_FILE` in place of `AVAL_SMTP_URL`.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import date, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Self

from aval.settings import kinds
from aval.settings.budgets import BudgetSettings
from aval.settings.documents import DocumentSettings
from aval.settings.kinds import Known, Setting, SettingProblem, SettingsError, within
from aval.settings.redemptions import RedemptionSettings

Network = IPv4Network | IPv6Network

PRODUCTION, DEVELOPMENT = "production", "development"
DEFAULT_ENVIRONMENT = "default environment"  # the command's own, under this name among the known values


def _channel(text: str) -> str:
    if text not in {"sms", "email"}:
        raise ValueError
    return text


def _gap(text: str) -> timedelta:
    return timedelta(seconds=within(float(text), 0, 86_400))


def _keys_file(known: Known) -> Path:
    return Path(known["AVAL_DATA_DIR"], "keys.json")


def _is_development(known: Known) -> bool:
    return bool(known["AVAL_ENV"] == DEVELOPMENT)


@dataclass(frozen=True, slots=True)
class DeploymentSettings:
    """Deployment"""

    environment: str = kinds.choice(
        "AVAL_ENV",
        lambda known: known[DEFAULT_ENVIRONMENT],
        [PRODUCTION, DEVELOPMENT],
        "What this deployment is for. Production refuses unsafe settings; development allows sandbox shortcuts.",
        shown="`production` for serve and worker, `development` for run and demo; other commands: `production` once "
        "AVAL_DATABASE_URL is set",
    )
    data_dir: Path = kinds.path(
        "AVAL_DATA_DIR", ".aval", "directory", "Home of the embedded PostgreSQL and the keys file."
    )
    log_level: str = kinds.choice(
        "AVAL_LOG_LEVEL", "info", ["debug", "info", "warning", "error"], "The least severe log lines that are written."
    )
    log_format: str = kinds.choice(
        "AVAL_LOG_FORMAT",
        lambda known: "console" if _is_development(known) else "json",
        ["json", "console"],
        "Log lines for machines or for people.",
        shown="`json`; in development `console`",
    )
    admin_key: str = kinds.text(
        "AVAL_ADMIN_KEY",
        "",
        "Admin key of the person who runs `aval admin`: the audit names its holder instead of `command-line`.",
        secret=True,
    )


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Database and keys"""

    url: str = kinds.url(
        "AVAL_DATABASE_URL",
        "postgresql postgres",
        "PostgreSQL 15 or newer. Unset, development starts its own PostgreSQL in AVAL_DATA_DIR.",
    )
    migrate_url: str = kinds.url(
        "AVAL_MIGRATE_DATABASE_URL",
        "postgresql postgres",
        "The owner's address, used by `aval migrate` alone.",
        default=lambda known: known["AVAL_DATABASE_URL"],
        shown="AVAL_DATABASE_URL",
    )
    pool_size: int = kinds.count("AVAL_POOL_SIZE", "16", "Connections of one process.", low=4, high=20)
    standby_required: bool = kinds.switch(
        "AVAL_STANDBY_REQUIRED", "off", "Refuse to run unless commits wait for a synchronous standby."
    )
    keys_file: Path = kinds.path(
        "AVAL_KEYS_FILE", _keys_file, "file", "The secret keys, mode 600.", shown="`keys.json` in AVAL_DATA_DIR"
    )
    keys_settle: timedelta = kinds.seconds(
        "AVAL_KEYS_SETTLE_SECONDS",
        "5",
        "A rotated key is made things with from this age on: by then every machine has it.",
        low=2,
    )


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """HTTP"""

    host: str = kinds.text("AVAL_HOST", "127.0.0.1", "Address to listen on.")
    port: int = kinds.count("AVAL_PORT", "8321", "Port of the API.", high=65_535, unit="port")
    ops_port: int = kinds.count(
        "AVAL_OPS_PORT",
        lambda known: known["AVAL_PORT"] if _is_development(known) else 8322,
        "Port of health, metrics and API documentation.",
        high=65_535,
        unit="port",
        shown="`8322`; in development AVAL_PORT",
    )
    public_url: str = kinds.url(
        "AVAL_PUBLIC_URL",
        "https http",
        "Address under which clients reach the API, without a slash at the end: the issuer of its access tokens.",
        is_secret=False,
        default=lambda known: f"http://{known['AVAL_HOST']}:{known['AVAL_PORT']}",
        shown="AVAL_HOST and AVAL_PORT over http",
    )
    processes: int = kinds.count("AVAL_API_PROCESSES", "1", "API processes of one `aval serve`.", high=128)
    trusted_proxies: tuple[Network, ...] = kinds.list_of(
        "AVAL_TRUSTED_PROXIES",
        "",
        ip_network,
        "networks such as 10.0.0.0/8",
        "Proxies whose X-Forwarded headers count. In production needed for an AVAL_HOST that is not loopback.",
    )
    headers_timeout: timedelta = kinds.seconds(
        "AVAL_HEADERS_TIMEOUT", "10", "Time a client has for its headers.", high=300
    )
    body_timeout: timedelta = kinds.seconds("AVAL_BODY_TIMEOUT", "15", "Time a client has for its body.", high=300)
    shutdown_grace: timedelta = kinds.seconds(
        "AVAL_SHUTDOWN_GRACE", "25", "Time calls and jobs in progress have to end at a stop.", high=300
    )
    integrator_calls_max: int = kinds.count(
        "AVAL_INTEGRATOR_CALLS_MAX", "32", "Calls in progress of one integrator in one API process."
    )
    operation_waiting_max: int = kinds.count(
        "AVAL_OPERATION_WAITING_MAX", "4", "Calls that wait for one operation in one API process."
    )
    callers_recalled_max: int = kinds.count(
        "AVAL_CALLERS_RECALLED_MAX",
        "10000",
        "Callers of the hot routes that an API process recalls, of each kind: API keys and client keys of integrators, "
        "API keys of applications, and participants they act for. Who called longest ago goes first, and is looked up "
        "again.",
    )
    coalesce_rows_max: int = kinds.count(
        "AVAL_COALESCE_ROWS_MAX", "64", "Waiting calls that share one commit.", high=1000
    )
    coalesce_lanes: int = kinds.count("AVAL_COALESCE_LANES", "2", "Shared commits under way at once.", high=16)
    jwks_timeout: timedelta = kinds.seconds(
        "AVAL_JWKS_TIMEOUT", "2", "Longest wait for the keys of an issuer of participant tokens.", high=30
    )
    jwks_refresh: timedelta = kinds.seconds(
        "AVAL_JWKS_REFRESH", "3600", "Age at which an issuer is asked for its keys again.", low=1, high=86_400
    )
    jwks_retry: timedelta = kinds.seconds(
        "AVAL_JWKS_RETRY", "10", "Least time between two questions for keys of one issuer.", low=1, high=3600
    )
    jwks_keep: timedelta = kinds.seconds(
        "AVAL_JWKS_KEEP", "86400", "How long the last keys of an issuer are good while it is away.", low=1, high=604_800
    )


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """Messages and calls to other servers"""

    sms_urls: tuple[str, ...] = kinds.list_of(
        "AVAL_SMS_URL",
        "",
        str,
        "Apprise addresses",
        "SMS providers as Apprise addresses, tried in turn.",
        is_secret=True,
    )
    sms_gateway_url: str = kinds.url(
        "AVAL_SMS_GATEWAY_URL", "https http", "An SMS gateway spoken to in JSON over HTTP."
    )
    sms_gateway_key: str = kinds.text("AVAL_SMS_GATEWAY_KEY", "", "Bearer key of that gateway.", secret=True)
    smtp_url: str = kinds.url(
        "AVAL_SMTP_URL",
        "smtp smtps starttls",
        "Mail server: smtp://, smtps:// or starttls://, user:password@host:port.",
    )
    email_from: str = kinds.text("AVAL_EMAIL_FROM", "Aval <aval@localhost>", "Sender of e-mail.")
    channels_off: tuple[str, ...] = kinds.list_of(
        "AVAL_CHANNELS_OFF", "", _channel, "sms and email", "Channels no message may take."
    )
    send_timeout: timedelta = kinds.seconds("AVAL_SEND_TIMEOUT", "10", "Longest wait for a message provider.", high=120)
    breaker_failures_max: int = kinds.count(
        "AVAL_BREAKER_FAILURES_MAX", "20", "Failures in a row that close a channel."
    )
    breaker_pause: timedelta = kinds.seconds("AVAL_BREAKER_PAUSE", "60", "How long a channel then stays closed.")
    local_targets: bool = kinds.switch(
        "AVAL_LOCAL_TARGETS",
        _is_development,
        "Allow webhooks and rails on http, any port, private and loopback addresses. Refused in production.",
        shown="`off`; in development `on`",
    )
    target_allow_list: tuple[Network, ...] = kinds.list_of(
        "AVAL_TARGET_ALLOW_LIST",
        "",
        ip_network,
        "networks such as 10.0.0.0/8",
        "Private ranges that webhooks and rails may reach.",
    )


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Worker"""

    poll: timedelta = kinds.seconds("AVAL_WORKER_POLL", "0.02", "Pause between looks for work.", high=60)
    lease: timedelta = kinds.seconds(
        "AVAL_WORKER_LEASE", "30", "How long a worker owns what it claimed.", low=1, high=3600
    )
    batch_size: int = kinds.count("AVAL_WORKER_BATCH_SIZE", "128", "Jobs claimed at once.", high=1000)
    jobs_max: int = kinds.count(
        "AVAL_WORKER_JOBS_MAX", "256", "Jobs of one kind in progress in one worker.", high=10_000
    )
    items_percent: int = kinds.count(
        "AVAL_WORKER_ITEMS_PERCENT",
        "35",
        "Percent of one processor that a worker computes while it settles items of batches; the rest is left to single "
        "transfers. 100 settles batches as fast as it goes.",
        high=100,
    )
    retry_gaps: tuple[timedelta, ...] = kinds.list_of(
        "AVAL_WORKER_RETRY_SECONDS",
        "1,2,5,10,30,60",
        _gap,
        "seconds",
        "Gaps between tries at a message or a settlement; the last one repeats.",
    )
    tries_max: int = kinds.count("AVAL_WORKER_TRIES_MAX", "20", "Tries after which a job is parked with its reason.")
    webhook_retry_gaps: tuple[timedelta, ...] = kinds.list_of(
        "AVAL_WEBHOOK_RETRY_SECONDS",
        "60,300,900,3600,10800,21600,43200",
        _gap,
        "seconds",
        "Gaps between tries at a webhook; after the last it is failed and can be replayed.",
    )
    webhook_timeout: timedelta = kinds.seconds(
        "AVAL_WEBHOOK_TIMEOUT", "10", "Longest wait for a webhook receiver.", high=60
    )
    sweep_interval: timedelta = kinds.seconds(
        "AVAL_SWEEP_INTERVAL", "5", "Pause between looks for ended approval windows (they close within 60).", high=30
    )
    ted_holidays: tuple[date, ...] = kinds.list_of(
        "AVAL_TED_HOLIDAYS",
        "",
        date.fromisoformat,
        "days such as 2026-12-25",
        "Weekdays on which no TED leaves, besides national holidays.",
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, grouped; made by `read`."""

    deployment: DeploymentSettings
    database: DatabaseSettings
    http: HttpSettings
    channels: ChannelSettings
    worker: WorkerSettings
    budgets: BudgetSettings
    documents: DocumentSettings
    redemptions: RedemptionSettings

    @classmethod
    def read(cls, environ: Mapping[str, str], *, default_environment: str | None = None) -> Self:
        """Read and check everything; raises SettingsError with every problem found.

        Without a default of the command, a deployment with a database address is taken for production.
        """
        fallback = PRODUCTION if environ.get("AVAL_DATABASE_URL", "").strip() else DEVELOPMENT
        known: dict[str, Any] = {DEFAULT_ENVIRONMENT: default_environment or fallback}
        problems: list[SettingProblem] = []
        for setting in every_setting():
            try:
                known[setting.variable] = setting.value(environ, known)
            except SettingsError as error:
                problems += error.problems
                known[setting.variable] = setting.value({}, known)  # so that what depends on it can be judged
        problems += [SettingProblem(variable, must) for variable, must, is_broken in RULES if is_broken(known)]
        if problems:
            raise SettingsError(problems)
        return cls(**{name: _group_of(group, known) for name, group in GROUPS.items()})

    @classmethod
    def of_this_process(cls, default_environment: str | None = None) -> Self:
        """What the environment of this process says; raises SettingsError."""
        return cls.read(os.environ, default_environment=default_environment)

    @property
    def is_production(self) -> bool:
        """Whether unsafe settings are refused."""
        return self.deployment.environment == PRODUCTION


GROUPS: Mapping[str, type[Any]] = dict(Settings.__annotations__)


def settings_of(group: type[Any]) -> list[Setting]:
    """The settings of one group, in order."""
    return [item.metadata["setting"] for item in fields(group)]


def every_setting() -> list[Setting]:
    """All settings, in the order they are read: a derived default looks only backwards."""
    return [setting for group in GROUPS.values() for setting in settings_of(group)]


def unknown_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Variables that look like ours and are not: misspelt ones."""
    known = {setting.variable for setting in every_setting()}
    known |= {f"{setting.variable}_FILE" for setting in every_setting() if setting.is_secret}
    return sorted(name for name in environ if name.startswith("AVAL_") and name not in known)


def child_environment(**variables: str) -> dict[str, str]:
    """This process's environment for a child, with some variables set."""
    return {**os.environ, **variables}


def _group_of(group: type[Any], known: Known) -> Any:
    return group(**{item.name: known[item.metadata["setting"].variable] for item in fields(group)})


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# What only several settings together can break: the variable, what it must, and when it is broken.
RULES: list[tuple[str, str, Callable[[Known], bool]]] = [
    (
        "AVAL_LOCAL_TARGETS",
        "be off while AVAL_ENV is production",
        lambda known: known["AVAL_LOCAL_TARGETS"] and not _is_development(known),
    ),
    (
        "AVAL_DATABASE_URL",
        "be set while AVAL_ENV is production, for example postgresql://aval@localhost/aval",
        lambda known: not known["AVAL_DATABASE_URL"] and not _is_development(known),
    ),
    (
        "AVAL_TRUSTED_PROXIES",
        "name the proxies in front when AVAL_HOST is not loopback and AVAL_ENV is production",
        lambda known: not (_is_development(known) or _is_loopback(known["AVAL_HOST"]) or known["AVAL_TRUSTED_PROXIES"]),
    ),
    (
        "AVAL_OPS_PORT",
        "differ from AVAL_PORT while AVAL_ENV is production",
        lambda known: known["AVAL_OPS_PORT"] == known["AVAL_PORT"] and not _is_development(known),
    ),
    (
        "AVAL_SMS_GATEWAY_URL",
        "be unset when AVAL_SMS_URL is set, or AVAL_SMS_URL be unset",
        lambda known: bool(known["AVAL_SMS_GATEWAY_URL"] and known["AVAL_SMS_URL"]),
    ),
]
