"""Every setting, command, metric, event and error code has its page, and no generated page is stale."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from prometheus_client.parser import text_string_to_metric_families

from aval.bootstrap import open_deployment
from aval.cli.main import build_cli
from aval.domain.errors import CATALOGUE
from aval.domain.redemption_event import EVENT_TYPES as REDEEMED
from aval.domain.transfer import TRANSITIONS, Status
from aval.http.metrics_view import HttpMetrics, render_metrics
from aval.http.webhooks import EVENT_TYPES
from aval.settings import every_setting
from docs.generate import all_pages
from docs.generate_architecture import import_contract, state_diagram

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = all_pages()


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def commands(command: Any, name: str) -> Iterator[str]:
    children = getattr(command, "commands", {})
    if not children:
        yield name
    for child_name, child in children.items():
        yield from commands(child, f"{name} {child_name}")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_generated_page_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == PAGES[path], "run `make docs`"


def test_every_setting_has_its_row() -> None:
    text = page("settings.md")
    assert [each.variable for each in every_setting() if f"\n| `{each.variable}` |" not in text] == []


def test_every_command_has_its_section() -> None:
    text = page("commands.md")
    names = commands(typer.main.get_command(build_cli(open_deployment)), "aval")
    assert [name for name in names if not re.search(rf"^## {name}( [A-Z_]+)*$", text, re.MULTILINE)] == []


async def test_every_metric_that_is_served_has_its_row(db) -> None:
    metrics, text = HttpMetrics(), page("metrics.md")
    metrics.count_request("GET", "/healthz", 200, 0.001)
    served = (await render_metrics(metrics, db)).decode()
    families = [family for family in text_string_to_metric_families(served) if not family.name.endswith("_created")]
    names = [f"{family.name}_total" if family.type == "counter" else family.name for family in families]
    assert "aval_database_up" in names
    assert [name for name in names if f"\n| `{name}` |" not in text] == []


def test_every_event_has_its_row() -> None:
    text = page("events.md")
    assert [name for name in (*EVENT_TYPES, *REDEEMED) if f"\n| `{name}` |" not in text] == []


def test_every_error_code_has_its_row() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert [entry.code for entry in CATALOGUE.values() if f"\n| {entry.code} |" not in text] == []


def test_the_diagram_shows_each_transition_once() -> None:
    lines = state_diagram(TRANSITIONS).splitlines()
    for start, ends in TRANSITIONS.items():
        arrows = [line for line in lines if line.startswith(f"    {start.value} --> ") and "[*]" not in line]
        assert len(arrows) == len(ends)
    assert lines.count(f"    [*] --> {Status.PENDING_2FA_APPROVAL.value}") == 1


def test_a_transition_without_a_cause_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        state_diagram({**TRANSITIONS, Status.CANCELLED: frozenset({Status.PENDING})})


def test_the_contract_is_told_in_words() -> None:
    forbidden = {"name": "N", "type": "forbidden", "source_modules": ["aval.a"], "forbidden_modules": ["b", "c"]}
    assert import_contract([forbidden]) == "- **N**: no module of `a` imports `b` or `c`."


def test_every_line_of_the_log_that_warns_has_its_row() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src" / "aval").rglob("*.py")]
    named = {name for text in sources for name in re.findall(r"_log\.(?:warning|error)\(\s*\"([^\"]+)\"", text)}
    named |= {name for text in sources for name in re.findall(r"GuessAlarm\(\"([a-z_]+)\"", text)}
    page = (ROOT / "docs" / "guides" / "operating.md").read_text(encoding="utf-8")
    assert {"job_failed", "platform_guess_alarm", "unexpected fault"} <= named
    assert [name for name in sorted(named) if f"`{name}`" not in page] == []


def test_every_link_between_pages_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in pages
        for target in re.findall(r"\]\(([^):]+)\)", path.read_text(encoding="utf-8"))
        if not leads_somewhere(path, *target.partition("#")[::2])
    ]
    assert broken == []


def leads_somewhere(page: Path, target: str, anchor: str) -> bool:
    found = page.parent / target if target else page
    return found.exists() and (not anchor or anchor in anchors(found))


def anchors(page: Path) -> set[str]:
    """The names of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
