"""What a call can end with instead of an answer. No exception holds a token, a key or a request's body."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from aval.client.answers import Pix, Ted
from aval.client.batch_answers import PixBatch, TedBatch

Snapshot = Pix | Ted | PixBatch | TedBatch


class AvalError(Exception):
    """Everything the client raises."""


class ArgumentNotValid(AvalError, ValueError):
    """An argument that no call can be made from; its value is not told."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class WebhookNotValid(AvalError):
    """A webhook that Aval did not sign, not lately, or not with this secret."""


class CallIds(msgspec.Struct, frozen=True, kw_only=True):
    """The names of one logical call, the same in every try; they repeat it when they are given again."""

    correlation_id: str
    idempotency_key: str | None = None
    request_control_key: str | None = None


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How the tries of a call ended."""

    call: str  # method and path
    ids: CallIds
    tries: int
    may_have_happened: bool


class CallFailed(AvalError):
    """A call without the answer it was made for.

    `may_have_happened` is true if a try may have arrived without its answer coming back: then repeat the call with the
    same `request_control_key` or `idempotency_key`, or read the transfer.
    """

    def __init__(self, ending: Ending, *more: object) -> None:
        super().__init__(ending, *more)
        self.call = ending.call
        self.tries = ending.tries
        self.may_have_happened = ending.may_have_happened
        self.correlation_id = ending.ids.correlation_id
        self.idempotency_key = ending.ids.idempotency_key
        self.request_control_key = ending.ids.request_control_key

    def __str__(self) -> str:
        return f"{self.call}: {self._what()}; tries {self.tries}, correlation {self.correlation_id}"

    def _what(self) -> str:
        return type(self).__name__


class NoAnswer(CallFailed):
    """No whole answer came in any try."""

    def __init__(self, ending: Ending, cause: str) -> None:
        super().__init__(ending, cause)
        self.cause = cause

    def _what(self) -> str:
        return f"no answer ({self.cause})"


class AnswerNotUnderstood(CallFailed):
    """An answer that is not Aval's: of something between, or of another release."""

    def __init__(self, ending: Ending, status: int) -> None:
        super().__init__(ending, status)
        self.status = status

    def _what(self) -> str:
        return f"HTTP {self.status} without a known body"


class RefusedItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item that makes its batch refused: its place from 0, its key, and what it alone would be refused with."""

    index: int
    request_control_key: UUID
    code: str


class WrongField(msgspec.Struct, frozen=True, kw_only=True):
    """A field that does not fit, such as `teds[3].target_account.ispb`; its value is not told."""

    field: str
    reason: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an error (transfers.md §2.4), its status and its headers."""

    status: int
    code: str
    title: str
    description: str
    translation: str
    extra_fields: dict[str, Any]
    snapshot: Snapshot | None
    refused_items: tuple[RefusedItem, ...] = ()
    wrong_fields: tuple[WrongField, ...] = ()
    retry_after_s: int | None


class Refused(CallFailed):
    """Aval answered with an error of its catalogue (transfers.md §6).

    `snapshot` is the transfer or batch if it is rejected now; `retry_after_s` is when to come again. `refused_items`
    and `wrong_fields` tell what to mend, the first 20 of each.
    """

    def __init__(self, ending: Ending, problem: Problem) -> None:
        super().__init__(ending, problem)
        self.status = problem.status
        self.code = problem.code
        self.title = problem.title
        self.description = problem.description
        self.translation = problem.translation
        self.extra_fields: Mapping[str, Any] = problem.extra_fields
        self.snapshot = problem.snapshot
        self.refused_items = problem.refused_items
        self.wrong_fields = problem.wrong_fields
        self.retry_after_s = problem.retry_after_s

    @property
    def reason(self) -> str | None:
        """What the code leaves open, such as `superseded_token` or the name of a limit."""
        reason = self.extra_fields.get("reason")
        return reason if isinstance(reason, str) else None

    def _what(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        return f"HTTP {self.status} {self.code} {self.title}{reason}"
