"""How answers of the administration are shown: tables and lines for people, one JSON document for programs."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from aval.domain.calendar import wire_datetime

PLAIN_WIDTH = 240  # where no terminal sets a width: keys stay on one line

_decoder = msgspec.json.Decoder(float_hook=str)  # no amount passes through a float


def show_one(answer: bytes, is_json: bool) -> None:
    """Show one thing: a line for each member, values unbroken so that they can be copied."""
    if is_json:
        typer.echo(answer.decode())
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _decoder.decode(answer).items():
        grid.add_row(Text(_title(name), style="bold"), Text(_told(value)))
    _console().print(grid)


def show_many(rows: Sequence[msgspec.Raw], columns: Sequence[str], is_json: bool, *, nothing: str) -> None:
    """Show a list as a table of these columns, or all of it as a JSON array."""
    if is_json:
        typer.echo(msgspec.json.encode(rows).decode())
        return
    if not rows:
        _console().print(Text(nothing))
        return
    table = Table(*map(_title, columns))
    for row in rows:
        members = _decoder.decode(row)
        table.add_row(*(Text(_told(members.get(name)), overflow="fold") for name in columns))
    _console().print(table)


def show_records(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], is_json: bool, *, nothing: str) -> None:
    """Show rows that come from storage: times as the wire writes them."""
    encoded = [{name: _wire(value) for name, value in row.items()} for row in rows]
    show_many([msgspec.Raw(msgspec.json.encode(row)) for row in encoded], columns, is_json, nothing=nothing)


def show_counts(counts: Mapping[str, int | bool], is_json: bool) -> None:
    """Show what a long piece of work came to."""
    show_one(msgspec.json.encode(counts), is_json)


def show_done(sentence: str, is_json: bool) -> None:
    """Say that something without an answer is done; as JSON that is an empty object."""
    typer.echo("{}" if is_json else sentence)


def once(what: str) -> None:
    """Remind of a secret that cannot be shown again; on stderr, so that it is no part of the result."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        Text("Note: ", style="yellow").append(f"{what} is shown this once and cannot be read again.", style="default")
    )


def progress_bar() -> Progress:
    """A bar on stderr while something long goes on; nothing where no terminal watches."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


def _console() -> Console:
    console = Console(highlight=False)
    if not sys.stdout.isatty() and console.width <= 80:  # noqa: PLR2004 – what rich takes for want of a terminal
        console.width = PLAIN_WIDTH
    return console


def _wire(value: Any) -> Any:
    return wire_datetime(value) if isinstance(value, datetime) else value


def _title(name: str) -> str:
    return name.replace("_", " ")


def _told(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{name} {_told(member)}" for name, member in value.items())
        case list():
            return ", ".join(map(_told, value))
        case _:
            return str(value)
