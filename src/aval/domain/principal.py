"""Who calls: an integrator (tenant) and the credential it used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Integrator:
    """A tenant and its settings (transfers.md §8.1); `version` rises with every change of them."""

    key: UUID
    name: str
    ispb: str
    mode: str  # sandbox, live
    locale: str
    settlement_mode: str  # async, sync
    sync_wait: timedelta
    approval_window: timedelta
    resend_cooldown: timedelta
    max_resends: int
    token_alphabets: Mapping[str, str]  # operation kind -> alphabet, only what differs from the default
    require_sha256: bool
    signature_window: timedelta
    contact_cooldown: timedelta
    ted_hours: bool
    requests_per_second: int | None
    budgets: bool
    rail_url: str | None
    rail_secret_sealed: bytes | None = field(repr=False)
    fixed_token: str | None = field(repr=False)
    active: bool
    pix_fee: int  # centavos, per item; an account may have its own
    ted_fee: int
    version: int
    templates: Mapping[str, Mapping[str, UUID]] = field(default_factory=dict)  # event type -> channel -> template key

    @property
    def is_sandbox(self) -> bool:
        """Whether no message and no money leaves the deployment for this integrator."""
        return self.mode == "sandbox"


@dataclass(frozen=True, slots=True)
class Principal:
    """An integrator as identified by one of its credentials."""

    integrator: Integrator
    credential_key: UUID
    credential_type: str  # bearer, signed
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the credential carries the scope."""
        return scope in self.scopes


@dataclass(frozen=True, slots=True)
class AdminActor:
    """Who administers the deployment, as identified by an admin key."""

    key: UUID
    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the admin key carries the scope."""
        return scope in self.scopes


class PrincipalStale(Exception):
    """The cached principal is no longer what the database holds: revoked, inactive or changed.

    Raised by the deciding statement of a hot operation, which then changed nothing; the edge reads the principal
    anew and calls the handler once more, or answers that the credential is not valid.
    """
