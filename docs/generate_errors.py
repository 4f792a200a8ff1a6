"""Writes docs/errors.md from the error catalogue (src/aval/catalogue/errors.toml)."""

from collections.abc import Mapping
from pathlib import Path

from aval.domain.errors import CATALOGUE, ErrorEntry

PAGE = Path(__file__).with_name("errors.md")
INTRODUCTION = """\
# Errors

Generated from `src/aval/catalogue/errors.toml` by `make docs`; do not edit.

Every error answer has the members `title`, `description` (English), `translation` (Portuguese), `code` and
`extra_fields`, which on redemptions always has the `reason`; some of those have `sub_message` and `sub` as well. `{x}`
is filled in. HTTP `–`: never an answer, the code travels in webhooks only. The name is how the code of Aval refers to
the error: it means the same for every kind of operation.
"""
TITLES = {
    "QIT": "Any call",
    "GDF": "Authentication",
    "PXT": "Pix",
    "TED": "TED",
    "OBD": "Devices",
    "PMB": "Message templates",
    "": "Redemptions: codes of the loyalty platform",
    "RDM": "Redemptions: codes of Aval",
}


def render(catalogue: Mapping[str, ErrorEntry]) -> str:
    """Render the page: one table for each prefix of codes, in the order of their numbers."""
    entries = sorted(set(catalogue.values()), key=_place)
    unknown = {entry.prefix for entry in entries} - set(TITLES)
    assert not unknown, f"no title for {unknown}"
    parts = [INTRODUCTION]
    for prefix, title in TITLES.items():
        rows = [_row(entry, catalogue) for entry in entries if entry.prefix == prefix]
        head = "| Code | HTTP | Title | Description | Translation | Name |\n|---|---|---|---|---|---|\n"
        parts.append(
            f"## {prefix}: {title}\n\n{head}{''.join(rows)}" if prefix else f"## {title}\n\n{head}{''.join(rows)}"
        )
    return "\n".join(parts)


def _place(entry: ErrorEntry) -> tuple[int, int, str, str]:
    return entry.number, len(entry.code), entry.description, entry.sub_message or ""


def _row(entry: ErrorEntry, catalogue: Mapping[str, ErrorEntry]) -> str:
    names = dict.fromkeys(name.partition(".")[2] for name, found in catalogue.items() if found == entry)
    title = entry.title
    if entry.title_on_resend:
        title += f" (on a resend: {entry.title_on_resend})"
    told = " ".join(filter(None, [entry.description, entry.sub_message]))
    cells = [entry.code, str(entry.http or "–"), title, told, entry.translation]
    return f"| {' | '.join(cells)} | {', '.join(f'`{name}`' for name in names)} |\n"


def pages() -> dict[Path, str]:
    """What this generator writes."""
    return {PAGE: render(CATALOGUE)}
