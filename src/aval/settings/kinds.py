"""How one setting is read, checked and described; the kinds of settings there are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

Number = TypeVar("Number", int, float)
Known = Mapping[str, Any]  # values read so far, by variable


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """One wrong setting: the variable, and what it must be."""

    variable: str
    must: str

    def __str__(self) -> str:
        """One sentence; never the value, which may be a secret."""
        return f"{self.variable} must {self.must}."


class SettingsError(Exception):
    """The environment holds values Aval cannot run with; one sentence for each."""

    def __init__(self, problems: list[SettingProblem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Setting:
    """How one variable is read and described; `shown` tells a default that depends on other settings."""

    variable: str
    default: str | Callable[[Known], Any]
    parse: Callable[[str], Any]
    must: str
    about: str
    unit: str = ""
    shown: str = ""
    is_secret: bool = False

    def value(self, environ: Mapping[str, str], known: Known) -> Any:
        """The value given, or the default; raises SettingsError."""
        try:
            given = self._given(environ)
            if given:
                return self.parse(given)
        except (ValueError, OSError):
            raise SettingsError([SettingProblem(self.variable, self.must)]) from None
        return self.parse(self.default) if isinstance(self.default, str) else self.default(known)

    def _given(self, environ: Mapping[str, str]) -> str:
        file = environ.get(f"{self.variable}_FILE", "").strip() if self.is_secret else ""
        return (Path(file).read_text(encoding="utf-8") if file else environ.get(self.variable, "")).strip()


def _field(setting: Setting) -> Any:
    return field(metadata={"setting": setting}, repr=not setting.is_secret)


def text(variable: str, default: str, about: str, *, secret: bool = False) -> Any:
    """Any words; `secret` keeps them out of every print."""
    return _field(Setting(variable, default, str, "be text", about, is_secret=secret))


def url(variable: str, schemes: str, about: str, *, is_secret: bool = True, **options: Any) -> Any:
    """An address of one of the schemes (separated by spaces); it may hold a password, so most do not print."""

    def parse(text: str) -> str:
        if text and (urlsplit(text).scheme not in schemes.split() or "://" not in text):
            raise ValueError
        return text

    must = "be an address that starts with " + " or ".join(f"{scheme}://" for scheme in schemes.split())
    return _field(Setting(variable, options.pop("default", ""), parse, must, about, is_secret=is_secret, **options))


def path(variable: str, default: Any, kind: str, about: str, **options: Any) -> Any:
    """A file or directory; relative ones are taken from where the command was started."""

    def parse(text: str) -> Path:
        try:
            return Path(text).expanduser().absolute()
        except RuntimeError:  # the home of an account nobody has
            raise ValueError from None

    return _field(Setting(variable, default, parse, f"be a {kind}", about, unit=kind, **options))


def choice(variable: str, default: Any, choices: list[str], about: str, **options: Any) -> Any:
    """One of a few words."""

    def parse(text: str) -> str:
        return choices[choices.index(text.lower())]

    return _field(Setting(variable, default, parse, "be one of " + ", ".join(choices), about, **options))


def switch(variable: str, default: Any, about: str, **options: Any) -> Any:
    """On or off."""

    def parse(text: str) -> bool:
        return bool(("off", "on", "false", "true", "no", "yes", "0", "1").index(text.lower()) % 2)

    return _field(Setting(variable, default, parse, "be on or off", about, unit="on, off", **options))


def count(variable: str, default: Any, about: str, low: int = 1, high: int = 1_000_000, **options: Any) -> Any:
    """A whole number."""

    def parse(text: str) -> int:
        return within(int(text), low, high)

    must = f"be a whole number from {low} to {high}"
    return _field(Setting(variable, default, parse, must, about, unit=options.pop("unit", "number"), **options))


def seconds(variable: str, default: str, about: str, low: float = 0.001, high: int = 86_400) -> Any:
    """A span of time, read as seconds."""

    def parse(text: str) -> timedelta:
        return timedelta(seconds=within(float(text), low, high))

    must = f"be a number of seconds from {low:g} to {high}"
    return _field(Setting(variable, default, parse, must, about, unit="seconds"))


def within(number: Number, low: float, high: float) -> Number:
    """The number itself; raises ValueError outside the bounds."""
    if not low <= number <= high:
        raise ValueError
    return number


def list_of(variable: str, default: str, item: Callable[[str], Any], items: str, about: str, **options: Any) -> Any:
    """A list separated by commas or spaces."""

    def parse(text: str) -> tuple[Any, ...]:
        return tuple(item(part) for part in text.replace(",", " ").split())

    return _field(Setting(variable, default, parse, f"be a list of {items}", about, unit="list", **options))
