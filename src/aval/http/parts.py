"""The parts the edge is built from; bootstrap makes them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from aval.domain.keyring import Keyring
from aval.domain.target import target_problem
from aval.http.metrics_view import HttpMetrics
from aval.operations.redemption_desk import RedemptionDesk
from aval.operations.settle_transfer import RetryPolicy
from aval.operations.store_file import FileKeeper
from aval.operations.transfer_desk import TransferDesk
from aval.ports import Outbound, RailAnswer, Rails
from aval.storage.database import Database


class KeyringSource(Protocol):
    """Gives the keys as they are now; the keys file may change while the process runs."""

    def current(self) -> Keyring:
        """The keyring; cheap, called for every request."""
        ...


@dataclass(frozen=True, slots=True)
class JwksPolicy:
    """How often an issuer is asked, and how long it is trusted without an answer."""

    timeout: timedelta = timedelta(seconds=2)
    refresh: timedelta = timedelta(hours=1)  # after this the keys are asked for again
    retry: timedelta = timedelta(seconds=10)  # the least time between two questions, whatever tokens come
    keep: timedelta = timedelta(hours=24)  # how long the last keys are good while the issuer is away
    patience: timedelta = timedelta(milliseconds=250)  # how long a call with a known key waits for newer ones


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """What the edge needs to know of the deployment."""

    is_production: bool
    has_ops_routes: bool  # health, metrics and documentation on the main listener: development only
    head_timeout: timedelta = timedelta(seconds=10)
    body_timeout: timedelta = timedelta(seconds=15)
    integrator_calls_max: int = 32
    operation_waiting_max: int = 4
    callers_recalled_max: int = 10_000
    has_access_log: bool = True
    public_url: str = "http://127.0.0.1:8321"  # how clients reach the API; the issuer of access tokens
    jwks: JwksPolicy = JwksPolicy()


# What is wrong with the address of a webhook or a rail, as a keyword; None if Aval may call it.
TargetCheck = Callable[[str], Awaitable[str | None]]


async def check_target_form(url: str) -> str | None:
    """Judge the form alone, as in production; the worker checks the resolved address at every call."""
    return target_problem(url, is_local_allowed=False)


@dataclass(slots=True)
class Parts:
    """Everything handlers may reach."""

    db: Database
    keyring: KeyringSource
    rails: Rails
    settings: HttpSettings
    metrics: HttpMetrics
    check_target: TargetCheck = check_target_form
    desk: TransferDesk | None = None  # None only where no transfer call is served
    redemption_desk: RedemptionDesk | None = None  # None only where no purchase is made
    retry: RetryPolicy | None = None
    rail_callback_of: Callable[[bytes], tuple[UUID, RailAnswer]] | None = None
    outbound: Outbound | None = None  # None only where no participant token is checked
    hot_db: Database | None = None  # plans look-ups by key only; `db` where there is none
    files: FileKeeper | None = None  # None only where no file of a document is sent or seen
