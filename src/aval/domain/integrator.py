"""The settings of a tenant: their defaults, and what may not be combined.

Source: transfers.md §8.1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

SANDBOX_DEFAULTS: Mapping[str, Any] = {
    "contact_cooldown_hours": 0,
    "device_cooldown_hours": 0,
    "ted_hours": False,
    "requests_per_second": None,
    "budgets": False,
}
LOCAL_ORIGIN = "http://localhost"  # where browsers allow passkeys without TLS; outside production only
LIVE_DEFAULTS: Mapping[str, Any] = {
    "contact_cooldown_hours": 24,
    "device_cooldown_hours": 24,
    "ted_hours": True,
    "requests_per_second": 50,
    "budgets": True,
}


@dataclass(frozen=True, slots=True)
class IntegratorSettings:
    """What an administrator sets, under the names of the wire and of the table."""

    name: str
    ispb: str
    mode: str  # sandbox, live
    contact_cooldown_hours: int
    device_cooldown_hours: int
    ted_hours: bool
    requests_per_second: int | None
    budgets: bool
    locale: str = "pt-BR"
    settlement_mode: str = "async"
    sync_wait_seconds: int = 8
    approval_window_minutes: int = 60
    resend_cooldown_seconds: int = 30
    max_resends: int = 5
    token_alphabets: Mapping[str, str] = field(default_factory=dict)
    rp_id: str | None = None
    origins: tuple[str, ...] = ()
    require_sha256: bool = False
    signature_window_seconds: int = 60
    rail_url: str | None = None
    fixed_token: str | None = field(default=None, repr=False)
    active: bool = True

    @property
    def contact_cooldown(self) -> timedelta:
        """How long a contact that is not the first of its type waits before a token may travel to it."""
        return timedelta(hours=self.contact_cooldown_hours)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "IntegratorSettings":
        """Fill what was not given with the defaults of the mode."""
        defaults = SANDBOX_DEFAULTS if given["mode"] == "sandbox" else LIVE_DEFAULTS
        return cls(**{**defaults, **given})


SETTING_NAMES = tuple(item.name for item in fields(IntegratorSettings))


def settings_problems(settings: IntegratorSettings, *, is_production: bool) -> Iterator[tuple[str, str]]:
    """Tell (field, reason) for each setting that its mode or the deployment does not allow."""
    is_live = settings.mode == "live"
    if is_live and settings.fixed_token is not None:
        yield "fixed_token", "is for the sandbox only"
    if not is_live and settings.rail_url is not None:
        yield "rail_url", "is for live integrators only"
    if is_production and any(origin.startswith(LOCAL_ORIGIN) for origin in settings.origins):
        yield "origins", "must be https in production"
    if not (is_live and is_production):
        return
    if not settings.budgets:
        yield "budgets", "must be true in production"
    if settings.requests_per_second is None:
        yield "requests_per_second", "must be a number in production"
    if settings.rail_url is None:
        yield "rail_url", "is required in production"
