"""Fills the generated parts of docs/architecture.md: the states, from the transition table, and the import contract."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from aval.domain.transfer import TRANSITIONS, Status

PAGE = Path(__file__).with_name("architecture.md")
CONTRACT = Path(__file__).parents[1] / "pyproject.toml"

END = "<!-- end -->"
Moves = Mapping[Status, frozenset[Status]]

# Why a status moves, transition by transition.
CAUSES: Mapping[tuple[Status, Status], str] = {
    (Status.PENDING_2FA_APPROVAL, Status.PENDING): "right token and all checks pass, debited",
    (Status.PENDING_2FA_APPROVAL, Status.APPROVED): "the same for a batch",
    (Status.PENDING_2FA_APPROVAL, Status.REJECTED): "fifth wrong token, a failed check, or the window is over",
    (Status.PENDING_2FA_APPROVAL, Status.CANCELLED): "the requester cancels",
    (Status.PENDING, Status.SENT): "the rail confirms",
    (Status.PENDING, Status.REJECTED): "the rail refuses, amount and fee come back",
    (Status.SENT, Status.REJECTED): "a TED is returned, its amount comes back",
}


def state_diagram(transitions: Moves) -> str:
    """The transition table as a Mermaid diagram."""
    moves = [(start, end) for start, ends in transitions.items() for end in Status if end in ends]
    assert set(moves) == set(CAUSES), set(moves) ^ set(CAUSES)
    starts = set(transitions) - {end for _, end in moves}
    lines = [f"    [*] --> {status.value}" for status in Status if status in starts]
    lines += [f"    {start.value} --> {end.value}: {CAUSES[start, end]}" for start, end in moves]
    lines += [f"    {status.value} --> [*]" for status, ends in transitions.items() if not ends]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def import_contract(contracts: Sequence[Mapping[str, object]]) -> str:
    """The contracts of import-linter, each with what it forbids."""
    return "\n".join(f"- **{contract['name']}**: {_told(contract)}" for contract in contracts)


def _told(contract: Mapping[str, object]) -> str:
    match contract["type"]:
        case "layers":
            layers = [str(layer).replace("(", "").replace(")", "") for layer in contract["layers"]]  # type: ignore[attr-defined]
            return "`" + "` → `".join(layers) + "`; what stands side by side does not import one another."
        case "acyclic_siblings":
            return "no module reaches itself again, imports for type checking included."
        case "protected":
            protected, allowed = _names(contract["protected_modules"]), _names(contract["allowed_importers"])
            verb = "is" if protected.count("`") == 2 else "are"
            return f"{protected} {verb} imported by {allowed} alone."
        case _:
            sources, forbidden = _names(contract["source_modules"]), _names(contract["forbidden_modules"], "or")
            return f"no module of {sources} imports {forbidden}."


def _names(modules: object, last: str = "and") -> str:
    assert isinstance(modules, list)
    names = [f"`{module.removeprefix('aval.')}`" for module in modules]
    return f" {last} ".join(names) if len(names) < 3 else ", ".join(names[:-1]) + f" {last} {names[-1]}"


def contracts() -> Sequence[Mapping[str, object]]:
    """The contracts as pyproject.toml states them."""
    tools = tomllib.loads(CONTRACT.read_text(encoding="utf-8"))["tool"]
    found: list[Mapping[str, object]] = tools["importlinter"]["contracts"]
    return found


PARTS: Mapping[str, Callable[[], str]] = {
    "states": lambda: state_diagram(TRANSITIONS),
    "contract": lambda: import_contract(contracts()),
}


def filled(text: str) -> str:
    """The page with each generated part made anew."""
    for name, make in PARTS.items():
        before, mark, rest = text.partition(f"<!-- generated: {name} -->\n")
        _, end, after = rest.partition(END)
        assert mark and end, name
        text = f"{before}{mark}{make()}\n{end}{after}"
    return text


def pages() -> dict[Path, str]:
    """What this generator writes."""
    return {PAGE: filled(PAGE.read_text(encoding="utf-8"))}
