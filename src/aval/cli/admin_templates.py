"""`aval admin templates preview`: how a token message reads, without any token and without a database."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from aval.cli.deployment import CommandTree, OpenDeployment
from aval.cli.refusal import CommandRefused
from aval.domain.errors import Refusal
from aval.domain.gsm7 import CHARACTERS_MAX
from aval.domain.message import RenderedMessage
from aval.domain.money import Locale
from aval.domain.template import (
    SUBJECT_CHARACTERS_MAX,
    TEMPLATE_EMAIL_BYTES_MAX,
    TEMPLATE_SMS_CHARACTERS_MAX,
    ChannelName,
    MessageTemplate,
)
from aval.domain.template_preview import preview_template
from aval.domain.text import clean
from aval.domain.transfer import Kind

LOCALES: tuple[Locale, ...] = get_args(Locale)


def register(commands: CommandTree, _open_deployment: OpenDeployment) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    commands.admin.add_typer(group, name="templates", help="Look at the messages approvers get.")

    @group.callback()
    def root() -> None:
        """One command of its own name would else be the whole group."""

    @group.command("preview")
    def preview(
        operation: Annotated[Kind, typer.Argument(help="What is approved.")],
        channel: Annotated[ChannelName, typer.Option(help="How it travels.")] = "sms",
        locale: Annotated[Locale | None, typer.Option(help="By default both.")] = None,
        file: Annotated[
            Path | None, typer.Option(help="The template: SMS text, or HTML of an e-mail; else Aval's own text.")
        ] = None,
        subject: Annotated[str, typer.Option(help="The subject, where FILE is an e-mail.")] = "",
        is_html: Annotated[
            bool, typer.Option("--html", help="Print the HTML of an e-mail instead of its text.")
        ] = False,
    ) -> None:
        """Show a token message with example values; a template that Aval would refuse is refused here."""
        template = None if file is None else _template_of(file, channel, subject)
        for each in LOCALES if locale is None else (locale,):
            _show(_rendered(operation, channel, each, template), each, is_html=is_html)


def _template_of(file: Path, channel: ChannelName, subject: str) -> MessageTemplate:
    """Read a template as the API would take it."""
    try:
        content = file.read_bytes()
        text = content.decode()
    except (OSError, UnicodeDecodeError):
        raise CommandRefused(f"--file must name a text in UTF-8: {file} is none that can be read.") from None
    if channel == "email":
        if not 0 < len(content) <= TEMPLATE_EMAIL_BYTES_MAX:
            raise CommandRefused(f"--file must hold 1 to {TEMPLATE_EMAIL_BYTES_MAX} bytes.")
        return MessageTemplate("email", text, _line_of(subject, SUBJECT_CHARACTERS_MAX, "--subject"))
    return MessageTemplate("sms", _line_of(text.rstrip("\r\n"), TEMPLATE_SMS_CHARACTERS_MAX, "--file"))


def _line_of(text: str, characters_max: int, option: str) -> str:
    line = clean(text)
    if not line or len(line) > characters_max:
        raise CommandRefused(f"{option} must be one line of 1 to {characters_max} visible characters.")
    return line


def _rendered(
    operation: Kind, channel: ChannelName, locale: Locale, template: MessageTemplate | None
) -> RenderedMessage:
    try:
        return preview_template(operation, channel, locale, template)
    except Refusal as refusal:
        told = refusal.extra_fields
        about = f" [{told['variable']}]" if told["variable"] else ""
        raise CommandRefused(f"The template would be refused with PMB000902: {told['reason']}{about}.") from None


def _show(message: RenderedMessage, locale: Locale, *, is_html: bool) -> None:
    if message.html is None:
        typer.echo(f"{locale}: {len(message.text)} of {CHARACTERS_MAX} characters\n{message.text}\n")
    else:
        typer.echo(f"{locale}: {message.subject}\n{message.html if is_html else message.text}\n")
