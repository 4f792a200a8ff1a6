"""Writes docs/reference/commands.md from the command tree itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from aval.cli.deployment import Deployment
from aval.cli.main import build_cli

PAGE = Path(__file__).parent / "reference" / "commands.md"
INTRODUCTION = """\
# Commands

Generated from the commands themselves by `make docs`; do not edit.

Exit codes: 0 done, 1 unexpected fault, 2 refused – the reason is a sentence on stderr. Results go to stdout, what is
told on the way to stderr. Settings come from the environment: [settings.md](settings.md).
"""


def _no_deployment(default_environment: str | None = None) -> Deployment:
    raise AssertionError


def render() -> str:
    """The page: one section for each command."""
    root = typer.main.get_command(build_cli(_no_deployment))
    return "\n".join([INTRODUCTION, *_sections(root, "aval")])


def _sections(command: Any, name: str) -> Iterator[str]:
    children = getattr(command, "commands", {})
    if not children:
        yield f"## {_usage(command, name)}\n\n{' '.join(command.help.split())}\n{_options(command)}"
    for child_name, child in children.items():
        yield from _sections(child, f"{name} {child_name}")


def _usage(command: Any, name: str) -> str:
    arguments = [parameter.name.upper() for parameter in command.params if parameter.param_type_name == "argument"]
    return " ".join([name, *arguments])


def _options(command: Any) -> str:
    rows = [
        f"| `{', '.join(parameter.opts) if parameter.param_type_name == 'option' else parameter.name.upper()}` "
        f"| {getattr(parameter, 'help', None) or ''} |\n"
        for parameter in command.params
        if not getattr(parameter, "hidden", False)
    ]
    return f"\n| Option | Meaning |\n|---|---|\n{''.join(rows)}" if rows else ""


def pages() -> dict[Path, str]:
    """What this generator writes."""
    return {PAGE: render()}
