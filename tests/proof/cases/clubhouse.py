"""One of everything a campaign can own, and a good body for every route of redemptions that takes one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aval.operations.create_application import NewApplication
from aval.operations.fresh import new_cpf, new_phone
from tests.buyers import ENABLED, Buyer, a_purchase
from tests.document_actors import TYPE, document_form, form, part
from tests.factories import Reply
from tests.hostile_files import picture
from tests.redemption_stage import Headers, RedemptionStage

JSON = "application/json"


@dataclass
class Clubhouse:
    """A campaign with two participants; `keys` go by the names of path and query parameters."""

    stage: RedemptionStage
    member: Buyer
    neighbour: Buyer
    keys: dict[str, str]
    neighbours_keys: dict[str, str]
    callers: Mapping[str, Headers] = field(repr=False)

    def path(self, template: str, **other: str) -> str:
        """The address of a route, with this campaign's keys where no other is given."""
        return template.format(**{**self.keys, **other})

    async def send(self, caller: str, method: str, target: str, template: str) -> Reply:
        """Call a route, with a good body if it takes one."""
        body = body_of(self, method, template)
        headers = {**self.callers[caller], "content-type": TYPE if isinstance(body, bytes) else JSON}
        if template.endswith("/credits"):
            headers["idempotency-key"] = uuid4().hex
        if isinstance(body, bytes):
            return await self.stage.call(method, target, raw=body, headers=headers)
        return await self.stage.call(method, target, body, headers=headers)


async def make_clubhouse(stage: RedemptionStage) -> Clubhouse:
    """Make it through the API where there is a call for it."""
    campaign = await stage.campaign()
    await stage.policy(campaign, **ENABLED, risk={"max_pending_purchases": None})
    application = await stage.application(campaign)
    members = [await Buyer.make(stage, campaign=campaign, application=application) for _ in range(2)]
    keys = {"campaign_id": campaign.campaign_id, "side": "single"}
    keys |= await _spare_application(stage, campaign.campaign_id)
    member, neighbour = [await _keys_of(stage, each, application) for each in members]
    callers = {
        "operator": await stage.operator(),
        "application": members[0].of_application,
        "impersonator": members[0].impersonated,
        "participant": members[0].headers,
    }
    return Clubhouse(stage, members[0], members[1], keys | member, keys | neighbour, callers)


async def _spare_application(stage: RedemptionStage, campaign_id: str) -> dict[str, str]:
    operator, path = await stage.operator(), f"/campaigns/{campaign_id}/applications"
    made = await stage.call("POST", path, {"name": "Reserva", "scopes": ["redemptions.read"]}, headers=operator)
    assert made.status == 201, made.body
    client_id = made.json["client_id"]
    key = await stage.call("POST", f"{path}/{client_id}/keys", headers=operator)
    assert key.status == 201, key.body
    return {"client_id": client_id, "key_id": key.json["key_id"]}


async def _keys_of(stage: RedemptionStage, buyer: Buyer, application: NewApplication) -> dict[str, str]:
    """A phone, a document, a purchase that waits, and one whose order came back in part."""
    made = await stage.call(
        "POST",
        "/participants/me/documents",
        raw=document_form("passport", "single", picture()),
        headers=buyer.headers,
        content_type=TYPE,
    )
    assert made.status == 201, made.body
    waiting, done = await buyer.bought(), await buyer.bought()
    assert (await buyer.validate(done)).status == 201
    order = str(done["orders"][0]["id"])
    body = {"executeTotalRefund": False, "refundType": 2, "currentRefundValue": 1, "refundMotiveId": 5}
    operator = await stage.operator()
    assert (await stage.call("POST", f"/orders/{order}/reversals", body, headers=operator)).status == 201
    return {
        "participant": str(buyer.person.key),
        "participant_id": str(buyer.person.key),
        "login": buyer.person.participant.username,
        "document": buyer.person.document_number,
        "device_id": str(buyer.device["id"]),
        "document_id": str(made.json["id"]),
        "purchase_id": str(waiting["id"]),
        "operation_key": str(waiting["id"]),
        "order_id": order,
        "item_id": str(done["orders"][0]["items"][0]["id"]),
        "destination": new_phone(),
    }


def body_of(home: Clubhouse, method: str, template: str) -> Any:
    """A good body for a route: bytes are a form; a route that is not listed takes none."""
    found = BODIES.get(f"{method} {template}")
    return None if found is None else found(home)


def _person(home: Clubhouse) -> Any:
    return {
        "name": "Rui Prova",
        "username": f"rui.{uuid4().hex[:8]}",
        "document_number": new_cpf(),
        "status": "ACTIVE",
        "catalog_id": "gold",
        "emails": [{"email": "rui@example.com"}],
    }


def _reversal(home: Clubhouse) -> Any:
    return {"executeTotalRefund": False, "refundType": 2, "currentRefundValue": 1, "refundMotiveId": 5}


def _token(home: Clubhouse) -> Any:
    return {"token": "ZZZZZZ"}


def _reason(home: Clubhouse) -> Any:
    return {"reason": "prova"}


def _application(home: Clubhouse) -> Any:
    return {"name": "Prova"}


def _purchase(home: Clubhouse) -> Any:
    return a_purchase(10)


def _campaign(home: Clubhouse) -> Any:
    lists = {"catalogs": [{"id": "gold", "name": "Ouro"}], "vendors": [{"id": "loja-sol", "name": "Loja Sol"}]}
    return {"id": f"prova-{uuid4().hex[:8]}", "name": "Prova", "client_id": "cliente", "mode": "sandbox", **lists}


_PERSON, _DEVICE = "/participants/{participant}", "/participants/{participant}/devices/{device_id}"
_DOCUMENT = _PERSON + "/documents/{document_id}"
BODIES: Mapping[str, Callable[[Clubhouse], Any]] = {
    "POST /campaigns": _campaign,
    "PATCH /campaigns/{campaign_id}": lambda home: {"name": "Clube"},
    "PUT /campaigns/{campaign_id}/two_factor": lambda home: {"expected_version": 2},
    "POST /campaigns/{campaign_id}/applications": lambda home: {"name": "Nova", "scopes": ["redemptions.read"]},
    "PATCH /campaigns/{campaign_id}/applications/{client_id}": _application,
    "POST /participants": _person,
    f"PUT {_PERSON}": lambda home: {"emails": [{"email": "prova@example.com"}]},
    f"POST {_PERSON}/credits": lambda home: {"type": "credit", "points": 1, "description": "Prova"},
    f"POST {_PERSON}/devices": lambda home: {"type": "phone", "number": new_phone()},
    f"PUT {_DEVICE}/validate_token": _token,
    f"POST {_PERSON}/documents": lambda home: document_form("selfie", "single", picture()),
    f"PUT {_DOCUMENT}/files/{{side}}": lambda home: form(part("file", picture())),
    "POST /documents/{document_id}/decision": lambda home: {"decision": "approve"},
    "POST /devices/{device_id}/block": _reason,
    "POST /devices/{device_id}/unblock": _reason,
    "POST /devices/{device_id}/reset": _reason,
    "POST /purchases": _purchase,
    "POST /purchases/authorize": _purchase,
    "PUT /purchases/{purchase_id}/validate_token": _token,
    "POST /orders/{order_id}/reversals": _reversal,
    "POST /orders/{order_id}/reversal/external": _reversal,
    "POST /sandbox/operations/{operation_key}/advance": lambda home: {"seconds": 1},
}
