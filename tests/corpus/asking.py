"""What all rows have in common: the codes by kind of transfer, and ways to ask."""

import json
from collections.abc import Iterator
from typing import Any

from tests.proof.cases.household import RAIL, Household
from tests.world import World, ted_body

KINDS = ("pix_transfer", "ted")
REQUIRED = {"pix_transfer": "PXT000908", "ted": "TED000110"}
INCORRECT = {"pix_transfer": "PXT000173", "ted": "TED000084"}
PREFIX = {"pix_transfer": "PXT", "ted": "TED"}
EXPIRED = {"pix_transfer": "PXT000172", "ted": "TED000083"}
EXCEEDED = {"pix_transfer": "PXT000171", "ted": "TED000082"}
NOT_ALLOWED = {"pix_transfer": "PXT000906", "ted": "TED000079"}
INVALID = {"pix_transfer": (400, "PXT000175"), "ted": (404, "TED000086")}
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


def good(home: Household, kind: str, **change: Any) -> dict[str, Any]:
    return home.party.pix(**change) if kind == "pix_transfer" else ted_body(home.party, **change)
