"""Who makes a call on redemptions: the back office, an application, or a participant.

Source: redemptions.md §1, §7.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal, get_args
from uuid import UUID

import msgspec

from aval.domain.campaign import Campaign

ApplicationScope = Literal[  # spec redemptions.md §7.1
    "redemptions.read",
    "redemptions.write",
    "redemptions.external",
    "participants.read",
    "participants.write",
    "policy.read",
    "impersonate",
    "onboarding.write",
    "sandbox",
]
APPLICATION_SCOPES: tuple[str, ...] = get_args(ApplicationScope)
BACK_OFFICE_SCOPES = (  # of admin keys
    "campaigns.write",
    "policy.write",
    "participants.admin",
    "points.write",
    "reversals.write",
    "documents.review",
    "documents.reopen",
    "devices.admin",
    "devices.read_full",
)


class CallerKind(StrEnum):
    """In whose name a call is made."""

    OPERATOR = "operator"  # an admin key: operator or reviewer, told apart by scopes
    APPLICATION = "application"  # by itself, for no participant
    IMPERSONATOR = "impersonator"  # an application for the participant of its headers
    PARTICIPANT = "participant"


class KeyState(msgspec.Struct, frozen=True):
    """An application with one of its keys as both were found: what must still be so when a call is decided."""

    tenant_key: UUID
    application_key: UUID
    api_key_hash: bytes
    application_at: datetime  # of its last change, and of its campaign's
    campaign_at: datetime

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints


class Recalled(msgspec.Struct, frozen=True):
    """What a caller rests on who is known from an earlier call: the statement that decides asks for it again."""

    key: KeyState
    username: str
    catalog_id: str
    calls_per_minute: int | None


class Caller(msgspec.Struct, frozen=True):
    """A caller whose credentials and headers were found good, or were so when they were `recalled`.

    `campaign` is None for the back office, which is bound to none; `participant_key` is the participant who calls or is
    impersonated.
    """

    kind: CallerKind
    actor: str  # of audit rows: admin:<name>, application:<key>, application:<key>/<impersonator>, participant:<key>
    scopes: frozenset[str]
    campaign: Campaign | None = None
    application_key: UUID | None = None
    participant_key: UUID | None = None
    impersonator_user: str | None = None
    recalled: Recalled | None = None

    def may(self, scope: str) -> bool:
        """Whether the credential carries the scope; of a participant, the application it calls through."""
        return scope in self.scopes

    @property
    def tenant(self) -> Campaign:
        """The campaign of a caller that is bound to one."""
        assert self.campaign is not None
        return self.campaign
