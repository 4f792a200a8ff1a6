"""Fills the generated parts of docs/architecture.md: states, from the transition tables, and the import contract."""

import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from aval.domain.identity_document import TRANSITIONS as DOCUMENT_TRANSITIONS
from aval.domain.identity_document import DocumentStatus
from aval.domain.purchase import FIRST_ENTRIES, PurchaseStatus
from aval.domain.purchase import TRANSITIONS as PURCHASE_TRANSITIONS
from aval.domain.transfer import TRANSITIONS, Status

PAGE = Path(__file__).with_name("architecture.md")
CONTRACT = Path(__file__).parents[1] / "pyproject.toml"

END = "<!-- end -->"
Moves = Mapping[Any, Collection[StrEnum]]  # the keys of a mapping have one type alone
Causes = Mapping[tuple[Any, Any], str]

# Why a status moves, transition by transition.
CAUSES: Causes = {
    (Status.PENDING_2FA_APPROVAL, Status.PENDING): "right token and all checks pass, debited",
    (Status.PENDING_2FA_APPROVAL, Status.APPROVED): "the same for a batch",
    (Status.PENDING_2FA_APPROVAL, Status.REJECTED): "fifth wrong token, a failed check, or the window is over",
    (Status.PENDING_2FA_APPROVAL, Status.CANCELLED): "the requester cancels",
    (Status.PENDING, Status.SENT): "the rail confirms",
    (Status.PENDING, Status.REJECTED): "the rail refuses, amount and fee come back",
    (Status.SENT, Status.REJECTED): "a TED is returned, its amount comes back",
}
PURCHASE_CAUSES: Causes = {
    (PurchaseStatus.PENDING_2FA_APPROVAL, PurchaseStatus.CONFIRMED): "right token, internal",
    (PurchaseStatus.PENDING_2FA_APPROVAL, PurchaseStatus.AUTHORIZED): "right token, external",
    (PurchaseStatus.PENDING_2FA_APPROVAL, PurchaseStatus.REJECTED): "five wrong, window over, phone or person gone",
    (PurchaseStatus.PENDING_2FA_APPROVAL, PurchaseStatus.CANCELED): "canceled",
    (PurchaseStatus.AUTHORIZED, PurchaseStatus.CONFIRMED): "the application confirms",
    (PurchaseStatus.AUTHORIZED, PurchaseStatus.CANCELED): "the application cancels",
    (PurchaseStatus.AUTHORIZED, PurchaseStatus.EXPIRED): "its time is over",
    (PurchaseStatus.CONFIRMED, PurchaseStatus.PARTIALLY_REVERSED): "part of an order comes back",
    (PurchaseStatus.CONFIRMED, PurchaseStatus.REVERSED): "all comes back",
    (PurchaseStatus.PARTIALLY_REVERSED, PurchaseStatus.REVERSED): "the rest comes back",
}
DOCUMENT_CAUSES: Causes = {
    (DocumentStatus.DRAFT, DocumentStatus.PENDING): "submitted with every side",
    (DocumentStatus.PENDING, DocumentStatus.APPROVED): "a reviewer approves",
    (DocumentStatus.PENDING, DocumentStatus.REJECTED): "a reviewer rejects, or no resubmission is left",
    (DocumentStatus.PENDING, DocumentStatus.RESUBMISSION_REQUESTED): "a reviewer asks again",
    (DocumentStatus.APPROVED, DocumentStatus.RESUBMISSION_REQUESTED): "the phone was removed or reset",
    (DocumentStatus.APPROVED, DocumentStatus.EXPIRED): "its last day is over",
    (DocumentStatus.REJECTED, DocumentStatus.RESUBMISSION_REQUESTED): "the operator reopens it",
    (DocumentStatus.RESUBMISSION_REQUESTED, DocumentStatus.PENDING): "new files, submitted",
}


def state_diagram(transitions: Moves, causes: Causes = CAUSES, *, starts: Collection[StrEnum] = ()) -> str:
    """A transition table as a Mermaid diagram; without `starts` it begins where no move leads."""
    order = [status for status in type(next(iter(transitions))) if status in transitions]
    moves = [(start, end) for start, ends in transitions.items() for end in order if end in ends]
    assert set(moves) == set(causes), set(moves) ^ set(causes)
    first = starts or set(transitions) - {end for _, end in moves}
    lines = [f"    [*] --> {status.value}" for status in order if status in first]
    lines += [f"    {start.value} --> {end.value}: {causes[start, end]}" for start, end in moves]
    lines += [f"    {status.value} --> [*]" for status, ends in transitions.items() if not ends]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def purchase_causes() -> Causes:
    """The causes, each with the line that the move writes into the ledger."""
    lines = {(start, end): entry for start, ends in PURCHASE_TRANSITIONS.items() for end, entry in ends.items()}
    return {move: cause + (f" ({entry})" if (entry := lines[move]) else "") for move, cause in PURCHASE_CAUSES.items()}


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
    "purchase states": lambda: state_diagram(PURCHASE_TRANSITIONS, purchase_causes(), starts=FIRST_ENTRIES),
    "document states": lambda: state_diagram(DOCUMENT_TRANSITIONS, DOCUMENT_CAUSES),
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
