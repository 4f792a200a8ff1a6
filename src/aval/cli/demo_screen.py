"""How the demo looks: acts, calls, a phone, a mail, a ledger."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.align import Align
from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from aval.cli.demo_calls import CallMade
from aval.client import InboxMessage
from aval.domain.money import Brl
from aval.storage.ledger import AccountLedger, LedgerEntry

WIDTH_MAX = 100
PHONE_WIDTH = 42
MAIL_WIDTH = 78
BEAT_S = 0.5  # time to read, where somebody does
GUTTER = 2

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Screen:
    """What is shown, on stdout; slower where a person watches."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._console.width = min(self._console.width, WIDTH_MAX)
        self._acts = 0

    async def act(self, title: str, told: str) -> None:
        """Begin an act: what happens now, and why."""
        await self._beat()
        self._acts += 1
        self._console.print()
        self._console.print(Rule(f"[bold]{self._acts}  {title}", align="left", style="cyan"))
        self._show(Text.from_markup(told))

    def opening(self, told: str) -> None:
        """Say what this is."""
        self._console.print(Panel(Text.from_markup(told), title="[bold]Aval", border_style="cyan"))

    def fact(self, told: str) -> None:
        """Something that is so now; rich markup."""
        self._show(_marked("[green]✓", told))

    def call(self, made: CallMade, told: str) -> None:
        """A call and its answer, on one line each."""
        colour = "green" if (made.status or 0) < 400 else "yellow"
        line = Text.assemble(
            (f"{made.method} ", "bold"),
            (_UUID.sub("…", made.path), ""),
            (f"  {made.status}", f"bold {colour}"),
            (f"  {made.took_s * 1_000:.0f} ms", "dim"),
        )
        self._show(line)
        self._show(_marked(f"[{colour}]→", told))

    async def phone(self, message: InboxMessage) -> None:
        """A short message as the approver's phone shows it."""
        await self._beat()
        bubble = Panel(_with_token(message.text), box=box.ROUNDED, style="white on grey19", border_style="grey50")
        number = Align.center(Text(message.destination, style="dim"))
        self._centred(
            Panel(Group(number, bubble), title="● ▬▬▬▬", box=box.HEAVY, border_style="blue", width=PHONE_WIDTH)
        )

    async def device(self, name: str, shown: Sequence[tuple[str, str]]) -> None:
        """What a device shows before it signs."""
        await self._beat()
        grid = Table.grid(padding=(0, 1))
        for label, text in shown:
            grid.add_row(Text(label, style="dim"), Text(text, style="bold"))
        button = Align.center(Text(" Approve ", style="bold white on green"))
        content = Panel(Group(grid, Text(), button), box=box.ROUNDED, border_style="grey50")
        self._centred(Panel(content, title=f"● {name}", box=box.HEAVY, border_style="blue", width=PHONE_WIDTH))

    async def mail(self, message: InboxMessage, sender: str) -> None:
        """A mail as the approver's reader shows it."""
        await self._beat()
        head = Table.grid(padding=(0, 1))
        for name, value in (("From", sender), ("To", message.destination), ("Subject", message.subject or "")):
            head.add_row(Text(name, style="dim"), Text(value, style="bold" if name == "Subject" else ""))
        content = Group(head, Rule(style="blue"), _with_token(message.text))
        self._centred(Panel(content, title="✉", box=box.ROUNDED, border_style="blue", width=MAIL_WIDTH))

    def ledger(self, ledger: AccountLedger) -> None:
        """Every entry with both of its sides, and the balance before and after it."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
        for name in ("entry", "debited", "credited"):
            table.add_column(name)
        for name in ("amount", "before", "after"):
            table.add_column(name, justify="right", no_wrap=True)
        balance = Brl(0)
        for entry in ledger.entries:
            after = balance + entry.change
            table.add_row(*_sides(entry), *(_plain(amount) for amount in (entry.amount, balance, after)))
            balance = after
        self._show(table)

    def closing(self, told: str, lines: Sequence[tuple[str, str]]) -> None:
        """How to go on."""
        grid = Table.grid(padding=(0, 3))
        for what, why in lines:
            grid.add_row(Text(what, style="bold"), Text(why))
        self._console.print()
        self._console.print(Panel(grid, title="[bold]How to go on", subtitle=told, border_style="cyan"))

    def failed(self, what: str, seen: object) -> None:
        """Something was not as told."""
        told = Text.assemble("Expected: ", (what, "bold"), "\nSeen: ", str(seen))
        self._console.print(Panel(told, title="[bold]The demo failed", border_style="red"))

    def _show(self, renderable: Any) -> None:
        self._console.print(Padding(renderable, (0, 0, 0, GUTTER)))

    def _centred(self, renderable: Any) -> None:
        self._console.print(Align.center(renderable))

    async def _beat(self) -> None:
        if self._console.is_terminal:
            await asyncio.sleep(BEAT_S)


def _marked(mark: str, told: str) -> Table:
    """Text that hangs beside its mark."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row(Text.from_markup(mark), Text.from_markup(told))
    return grid


def _with_token(text: str | None) -> Text:
    """The text with its last word, the token, made to stand out."""
    before, _, token = (text or "").rstrip().rpartition(" ")
    return Text.assemble(before, " ", (token, "bold bright_yellow"))


def _sides(entry: LedgerEntry) -> tuple[str, str, str]:
    name = (entry.description or entry.entry_type.replace("_", " ")).lower()
    debited, credited = "account", entry.contra_account
    return (name, credited, debited) if entry.direction == "credit" else (name, debited, credited)


def _plain(amount: Brl) -> str:
    return amount.localized("en").removeprefix("BRL ")
