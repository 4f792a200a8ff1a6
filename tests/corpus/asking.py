"""What all rows have in common: the codes by kind of transfer, and ways to ask."""

import json
from collections.abc import Iterator
from typing import Any

from tests.proof.cases.household import RAIL, Household
from tests.world import ITEMS, World, body_of

SINGLES = ("pix_transfer", "ted")
KINDS = (*SINGLES, *ITEMS)


def _both(pix: str, ted: str) -> dict[str, str]:
    """The code of each kind, where a batch has its singles'."""
    return {kind: pix if kind.startswith("pix") else ted for kind in KINDS}


REQUIRED = _both("PXT000908", "TED000110")
INCORRECT = _both("PXT000173", "TED000084")
PREFIX = _both("PXT", "TED")
EXPIRED = _both("PXT000172", "TED000083")
EXCEEDED = _both("PXT000171", "TED000082")
NOT_ALLOWED = _both("PXT000906", "TED000079")
INVALID = {
    "pix_transfer": (400, "PXT000175"),
    "ted": (404, "TED000086"),
    "pix_transfer_batch": (400, "PXT000180"),
    "ted_batch": (400, "TED000102"),
}
APPROVED = {kind: 201 if kind in ITEMS else 202 for kind in KINDS}
SCHEMA, SYNTAX = (400, "QIT000001"), (400, "QIT000753")


def written(world: World) -> Iterator[tuple[str, str]]:
    """Method and template of every route that takes a body, or would if one were sent."""
    for template, methods in world.contract.document["paths"].items():
        for method in methods:
            if f"{method.upper()} {template}" != RAIL:
                yield method.upper(), template


def ask(world: World, home: Household, method: str, template: str, raw: bytes, **headers: str) -> Any:
    return world.call(method, home.path(template), key=home.credential(template), raw=raw, **headers)


def with_text(body: dict[str, Any], place: str, text: str) -> bytes:
    """The body with a member (`a.b`) replaced by this JSON text, whatever it is."""
    *path, last = place.split(".")
    holder = body = json.loads(json.dumps(body))
    for name in path:
        holder = holder[name]
    holder[last] = "@here@"
    return json.dumps(body).replace('"@here@"', text).encode()


def created(world: World, home: Household, kind: str, body: dict[str, Any] | bytes) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return world.call("POST", f"/account/{home.keys['account_key']}/{kind}", key=home.party.api_key, raw=raw)


def dearer(body: dict[str, Any]) -> dict[str, Any]:
    """The same request, one amount of it another."""
    changed: dict[str, Any] = json.loads(json.dumps(body))
    priced = next((changed[name][0] for name in ITEMS.values() if name in changed), changed)
    priced["transaction_amount"] = 202.02
    return changed


def good(home: Household, kind: str, **change: Any) -> dict[str, Any]:
    return body_of(home.party, kind, **change)
