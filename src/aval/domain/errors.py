"""The error catalogue as data, and the one exception for a request that is refused and changed nothing."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

BAD_CREDENTIALS = "Failed while decoding the authentication token"
SCHEMA_ERRORS_MAX = 20  # spec transfers.md §2.4

# Why an operation or item was rejected, which is the slug of its error too (spec transfers.md §1.2).
REJECTION_REASONS = (
    "attempts_exceeded",
    "approver_not_allowed",
    "account_unavailable",
    "outside_ted_hours",
    "limit_exceeded",
    "insufficient_funds",
    "approval_window_expired",
    "denied_by_approver",
    "target_account_not_found",
    "rail_refused",
)
REJECTION_ERRORS: Mapping[str, str] = dict(zip(REJECTION_REASONS, REJECTION_REASONS, strict=True))

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class SubError:
    """One of the faults that make up an error of an order; `type` is its number."""

    type: int
    message: str


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One error of the catalogue; without `http` it is never an answer, only told in webhooks.

    `reason`, `sub_message` and `sub` belong to redemptions; two entries that differ in the reason alone are one error.
    """

    code: str
    title: str
    description: str
    translation: str
    http: int | None = None
    title_on_resend: str | None = None
    reason: str | None = field(default=None, compare=False)
    sub_message: str | None = None
    sub: tuple[SubError, ...] = ()

    @property
    def prefix(self) -> str:
        """The letters of the code: TED of TED000082, none of 322."""
        return self.code.rstrip("0123456789")

    @property
    def number(self) -> int:
        """The number in the code: 82 of TED000082."""
        return int(self.code.removeprefix(self.prefix))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Entries by name, those that differ on a resend, names placeholders go by, and names redemptions answer with."""

    entries: Mapping[str, ErrorEntry]
    resent: Mapping[str, ErrorEntry]
    filled_by: Mapping[str, str]
    in_redemptions: Mapping[str, str]


def read_catalogue(text: str) -> Catalogue:
    """Read the catalogue from TOML."""
    tables = tomllib.loads(text)
    falls_back, answers_as = tables.pop("family_falls_back"), tables.pop("answers_as")
    on_resend, filled_by = tables.pop("answers_on_resend"), tables.pop("filled_by")
    redeemed = tables.pop("in_redemptions", {})
    own = {family: {slug: _entry_of(row) for slug, row in rows.items()} for family, rows in tables.items()}
    for alias, name in answers_as.items():
        (family, slug), (other_family, other_slug) = alias.split("."), name.split(".")
        own[family][slug] = own[other_family][other_slug]
    own |= {family: own[parent] | own[family] for family, parent in falls_back.items()}
    entries = {f"{family}.{slug}": entry for family, rows in own.items() for slug, entry in rows.items()}
    for name, slug in redeemed.items():
        entries.setdefault(f"rdm.{slug}", replace(entries[name], reason=slug))
    resent = {name: entries[other] for name, other in on_resend.items()}
    resent |= {name: replace(e, title=e.title_on_resend) for name, e in entries.items() if e.title_on_resend}
    return Catalogue(entries, resent, filled_by, {name: f"rdm.{slug}" for name, slug in redeemed.items()})


def _entry_of(row: dict[str, Any]) -> ErrorEntry:
    sub = tuple(SubError(**fault) for fault in row.pop("sub", ()))
    return ErrorEntry(**row, sub=sub)


_READ = read_catalogue(files("aval").joinpath("catalogue", "errors.toml").read_text(encoding="utf-8"))
CATALOGUE = _READ.entries


def entry(name: str, *, is_resend: bool = False) -> ErrorEntry:
    """Look up `family.slug`; two entries read differently when a resend is answered."""
    return _READ.resent.get(name, CATALOGUE[name]) if is_resend else CATALOGUE[name]


def filled(found: ErrorEntry, values: Mapping[str, object]) -> ErrorEntry:
    """Put values into the placeholders of description and translation, in one pass; a missing value is a bug."""
    if "{" not in found.description and not found.sub:
        return found

    def value(match: re.Match[str]) -> str:
        placeholder = match[1]
        known = placeholder if placeholder in values else _READ.filled_by.get(placeholder, placeholder)
        return str(values[known])

    return replace(
        found,
        description=_PLACEHOLDER.sub(value, found.description),
        translation=_PLACEHOLDER.sub(value, found.translation),
        sub=tuple(replace(fault, message=_PLACEHOLDER.sub(value, fault.message)) for fault in found.sub),
    )


def problem_body(
    name: str,
    values: Mapping[str, object] | None = None,
    extra_fields: Mapping[str, Any] | None = None,
    *,
    is_resend: bool = False,
) -> dict[str, Any]:
    """Build an error body with its members in the documented order."""
    told = filled(entry(name, is_resend=is_resend), values or {})
    body: dict[str, Any] = {
        "title": told.title,
        "description": told.description,
        "translation": told.translation,
        "code": told.code,
        "extra_fields": ({"reason": told.reason} if told.reason else {}) | dict(extra_fields or {}),
    }
    if told.sub_message:
        body["sub_message"] = told.sub_message
    if told.sub:
        body["sub"] = [{"type": fault.type, "message": fault.message, "parameters": []} for fault in told.sub]
    return body


class Refusal(Exception):
    """A request refused before it changed anything; the edge turns it into the answer of the catalogue.

    Keyword values fill the placeholders of the texts. `headers` are response headers such as Retry-After.
    """

    def __init__(
        self,
        name: str,
        *,
        extra_fields: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        is_resend: bool = False,
        **values: object,
    ) -> None:
        assert entry(name).http is not None
        super().__init__(name)
        self.name = name
        self.values = values
        self.extra_fields = dict(extra_fields or {})
        self.headers = dict(headers or {})
        self.is_resend = is_resend

    @property
    def http(self) -> int:
        """The HTTP status of the answer."""
        status = entry(self.name, is_resend=self.is_resend).http
        assert status is not None
        return status

    def body(self) -> dict[str, Any]:
        """Build the error body of the answer."""
        return problem_body(self.name, self.values, self.extra_fields, is_resend=self.is_resend)


def schema_refusal(*errors: tuple[str, str]) -> Refusal:
    """Make the refusal of a body or query whose named fields are wrong: (field, reason) pairs, never a value."""
    told = [{"field": field, "reason": reason} for field, reason in errors[:SCHEMA_ERRORS_MAX]]
    return Refusal("qit.schema_error", extra_fields={"errors": told})


def name_in_redemptions(name: str) -> str:
    """Name the entry that redemptions answer with in place of another one."""
    return _READ.in_redemptions.get(name, name)


def in_redemptions(refusal: Refusal) -> Refusal:
    """Put a refusal of the edge into the words of redemptions; one of theirs stays as it is."""
    name = name_in_redemptions(refusal.name)
    if name == refusal.name:
        return refusal
    values: dict[str, Any] = refusal.values | ({"details": BAD_CREDENTIALS} if name == "rdm.unauthenticated" else {})
    told = {field: value for field, value in refusal.extra_fields.items() if field != "reason"}
    return Refusal(name, extra_fields=told, headers=refusal.headers, **values)
