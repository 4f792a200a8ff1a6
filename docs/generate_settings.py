"""Writes docs/reference/settings.md and .env.example from src/aval/settings."""

import textwrap
from pathlib import Path

from aval.settings import GROUPS, settings_of
from aval.settings.kinds import Setting

PAGE = Path(__file__).parent / "reference" / "settings.md"
EXAMPLE = Path(__file__).parents[1] / ".env.example"
LINE_MAX = 118

INTRODUCTION = """\
# Settings

Generated from `src/aval/settings` by `make docs`; do not edit.

Every setting is an environment variable, and all have a default: `aval run` needs none. An empty variable counts as
unset. A wrong value ends the command with exit code 2 and a sentence that names the variable and the fix. Settings
marked *secret* never appear in logs, and may lie in a file instead: `AVAL_SMTP_URL_FILE=/run/secrets/smtp` in place
of `AVAL_SMTP_URL`. Times are in seconds, lists are separated by commas or spaces.
"""
HEADING = """\
# Every setting of Aval with its default; generated from src/aval/settings by `make docs`.
# Copy the file to .env, remove the # before what you change, and load it: set -a; . ./.env; set +a
"""


def render_page() -> str:
    """The page: one table for each group."""
    parts = [INTRODUCTION]
    for group in GROUPS.values():
        rows = "".join(_row(setting) for setting in settings_of(group))
        parts.append(f"## {group.__doc__}\n\n| Variable | Default | Value | Meaning |\n|---|---|---|---|\n{rows}")
    return "\n".join(parts)


def render_example() -> str:
    """The .env.example: every variable commented out, with its default."""
    parts = [HEADING]
    for group in GROUPS.values():
        parts.append(f"\n# --- {group.__doc__} ---\n")
        parts += [_example(setting) for setting in settings_of(group)]
    return "".join(parts)


def _row(setting: Setting) -> str:
    secret = " *Secret.*" if setting.is_secret else ""
    return f"| `{setting.variable}` | {_default(setting)} | must {setting.must} | {setting.about}{secret} |\n"


def _default(setting: Setting) -> str:
    if setting.shown:
        return setting.shown
    return f"`{setting.default}`" if setting.default else "–"


def _example(setting: Setting) -> str:
    shown = f" Default: {setting.shown.replace('`', '')}." if setting.shown else ""
    words = textwrap.wrap(f"{setting.about} Must {setting.must}.{shown}", LINE_MAX)
    value = setting.default if isinstance(setting.default, str) else ""
    quoted = f'"{value}"' if " " in value else value
    return "".join(f"# {line}\n" for line in words) + f"#{setting.variable}={quoted}\n"


def pages() -> dict[Path, str]:
    """What this generator writes."""
    return {PAGE: render_page(), EXAMPLE: render_example()}
