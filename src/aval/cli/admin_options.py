"""Options that several commands of `aval admin` share, and how their texts are read."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from aval.domain.ids import parse_uuid
from aval.domain.money import AmountError, Brl

STDIN = "; - reads it from stdin, so that it stays out of the shell's history"


def read_key(text: str) -> str:
    """A key as the wire writes it; typer tells the option's name in front of the sentence."""
    key = parse_uuid(text.strip())
    if key is None:
        raise typer.BadParameter("must be a key such as 7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264.")
    return str(key)


def read_amount(text: str) -> msgspec.Raw:
    """An amount as the JSON number it was written as."""
    try:
        return msgspec.Raw(Brl.parse(text.strip(), is_zero_allowed=True).wire().encode())
    except AmountError:
        raise typer.BadParameter("must be an amount such as 10 or 1580.50, at most 9999999.99.") from None


def read_time(text: str) -> datetime:
    """A moment in UTC, or a day, which stands for its beginning."""
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"):
        try:
            return datetime.strptime(text.strip(), form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise typer.BadParameter("must be a moment such as 2026-11-23T14:30:00Z, or a day such as 2026-11-23 (UTC).")


def _key(name: str, about: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(name, parser=read_key, metavar="KEY", help=about)
    return option


def amount_option(about: str) -> typer.models.OptionInfo:
    """An option that takes an amount."""
    option: typer.models.OptionInfo = typer.Option(parser=read_amount, metavar="AMOUNT", help=about)
    return option


IntegratorKey = Annotated[str, _key("--integrator", "Key of the integrator.")]
OptionalIntegrator = Annotated[str | None, _key("--integrator", "One integrator instead of all.")]
AccountKey = Annotated[str, _key("--account", "Key of the account.")]
ApproverKey = Annotated[str, _key("--approver", "Key of the approver.")]
CredentialKey = Annotated[str, _key("--credential", "Key of the credential.")]
ContactKey = Annotated[str, _key("--contact", "Key of the contact.")]
IsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]
