"""A campaign – the tenant of redemptions – and its policy for the second factor.

Source: redemptions.md §1, §2.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

POINTS_MAX = 999_999_999_999  # spec redemptions.md, conventions

Points = Annotated[int, Meta(ge=0, le=POINTS_MAX)]
PurchaseKind = Literal["internal", "external"]
DocumentKind = Literal["identity", "selfie", "proof_of_address"]
ClaimName = Annotated[str, Meta(min_length=1, max_length=64)]

DEFAULT_MESSAGE = "[campaign]: resgate de [points] pontos em [vendors]. Nao compartilhe. Codigo [generation]: [token]"


class RiskLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one participant may redeem; None is no limit. Judged even when the second factor is off."""

    max_points_per_order: Annotated[int, Meta(ge=1, le=POINTS_MAX)] | None = None
    max_points_per_day: Annotated[int, Meta(ge=1, le=POINTS_MAX)] | None = None
    max_orders_per_day: Annotated[int, Meta(ge=1, le=POINTS_MAX)] | None = None
    max_pending_purchases: Annotated[int, Meta(ge=1, le=POINTS_MAX)] | None = 5

    @property
    def has_counts(self) -> bool:
        """Whether a limit depends on what the participant did before."""
        counted = (self.max_points_per_day, self.max_orders_per_day, self.max_pending_purchases)
        return counted != (None, None, None)


class TwoFactorPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of a campaign's policy; what is not given takes its default."""

    enabled: bool = False
    applies_to: Annotated[tuple[PurchaseKind, ...], Meta(min_length=1, max_length=2)] = ("internal", "external")
    min_points: Points = 0
    channel: Literal["sms"] = "sms"
    token_alphabet: Literal["crockford32", "digits"] = "crockford32"
    token_length: Annotated[int, Meta(ge=6, le=6)] = 6
    token_ttl_seconds: Annotated[int, Meta(ge=300, le=300)] = 300
    max_attempts: Annotated[int, Meta(ge=5, le=5)] = 5
    resend_interval_seconds: Annotated[int, Meta(ge=10, le=300)] = 30
    max_resends: Annotated[int, Meta(ge=0, le=10)] = 5
    approval_window_minutes: Annotated[int, Meta(ge=5, le=1440)] = 60
    document_policy: Literal["none", "submitted", "approved"] = "approved"
    required_documents: tuple[DocumentKind, ...] = ("identity", "selfie")
    max_resubmissions: Annotated[int, Meta(ge=0, le=9)] = 3
    document_retention_days: Annotated[int, Meta(ge=1, le=3650)] = 90
    device_change_cooldown_hours: Annotated[int, Meta(ge=0, le=168)] = 24
    max_participants_per_number: Annotated[int, Meta(ge=1, le=10)] = 1
    message_template: Annotated[str, Meta(min_length=1, max_length=160)] = DEFAULT_MESSAGE
    authorization_ttl_minutes: Annotated[int, Meta(ge=1, le=43_200)] | None = None
    risk: RiskLimits = RiskLimits()

    @property
    def approval_window(self) -> timedelta:
        """How long an operation waits for its approval."""
        return timedelta(minutes=self.approval_window_minutes)

    @property
    def resend_interval(self) -> timedelta:
        """The least time between two tokens of an operation."""
        return timedelta(seconds=self.resend_interval_seconds)

    @property
    def authorization_ttl(self) -> timedelta | None:
        """How long an external authorization lasts; None is for ever."""
        minutes = self.authorization_ttl_minutes
        return None if minutes is None else timedelta(minutes=minutes)

    def applies(self, kind: PurchaseKind, debited_points: int) -> bool:
        """Whether a purchase needs a second factor (redemptions.md §2.3)."""
        return self.enabled and kind in self.applies_to and debited_points >= self.min_points and debited_points > 0


class ClaimNames(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Under which names a participant token holds what identifies the participant (redemptions.md §7.3)."""

    participant_id: ClaimName = "custom:participant_id"
    campaign_id: ClaimName = "custom:campaign_id"
    catalog_id: ClaimName = "custom:catalog_id"
    client_id: ClaimName = "custom:client_id"
    username: ClaimName = "username"


class OidcSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The issuer a campaign trusts for participant tokens."""

    issuer: Annotated[str, Meta(min_length=1, max_length=500)]
    audience: Annotated[str, Meta(min_length=1, max_length=500)]
    jwks_uri: Annotated[str, Meta(min_length=1, max_length=500)]
    claims: ClaimNames = ClaimNames()


class Campaign(msgspec.Struct, frozen=True):
    """A campaign as calls meet it, with the current version of its policy. `key` is its tenant's key."""

    key: UUID
    campaign_id: str
    client_id: str
    name: str
    mode: str  # sandbox, live
    status: str  # active, paused, closed
    locale: str
    timezone: str
    catalogs: Mapping[str, str]  # id -> name
    vendors: Mapping[str, str]
    policy_version: int
    policy: TwoFactorPolicy

    @property
    def is_sandbox(self) -> bool:
        """Whether no message leaves the deployment; such a campaign has no budgets either (redemptions.md §4.3)."""
        return self.mode == "sandbox"


class CampaignData(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator says of a campaign, under the names of the wire; its policy is changed by itself."""

    campaign_id: str
    client_id: str
    name: str
    mode: Literal["sandbox", "live"] = "live"
    status: Literal["active", "paused", "closed"] = "active"
    locale: Literal["pt-BR", "en"] = "pt-BR"
    timezone: str = "America/Sao_Paulo"
    catalogs: Mapping[str, str] = {}
    vendors: Mapping[str, str] = {}
    oidc: OidcSettings | None = None


class PolicyVersion(msgspec.Struct, frozen=True):
    """One version of a campaign's policy, and who wrote it when."""

    version: int
    policy: TwoFactorPolicy
    changed_by: str
    changed_at: datetime
