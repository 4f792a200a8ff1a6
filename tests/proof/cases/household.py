"""One of everything an integrator can own, and a good body for every route that takes one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

from aval.operations.fresh import digits, new_cpf, new_phone
from tests.devices.authenticator import AppKey
from tests.devices.registering import Enrollment, registered
from tests.devices.signing import request_by_device
from tests.factories import Party, make_admin_key, make_approver, make_credential, make_party
from tests.signing import new_signing_key, pem_of
from tests.world import ITEMS, World, ted_body
from tests.world import body_of as request_of


@dataclass
class Household:
    """A party with its keys under the names of path and query parameters."""

    party: Party
    admin_key: str = field(repr=False)
    keys: dict[str, str]
    new_device: Enrollment | None = None  # challenged, and not registered yet

    def path(self, template: str, **other: str) -> str:
        """The address of a route, with this household's keys where no other is given."""
        return template.format(**{**self.keys, **other})

    def credential(self, template: str) -> str:
        """The key that opens a route."""
        return self.admin_key if template.startswith("/admin") else self.party.api_key


def end_to_end_id() -> str:
    return f"E12345678202611231430{digits(11)}"


async def make_household(world: World, **settings: Any) -> Household:
    """Make it through the API where there is a call for it."""
    party = await make_party(world.db, **settings)
    admin_key = await make_admin_key(world.db)
    keys = {"integrator_key": str(party.key), "account_key": str(party.account.key)}
    keys |= {"approver_key": str(party.approver.key), "destination": party.phone}
    keys |= {"pix_transfer_direction": "outgoing", "ted_direction": "outgoing"}
    spare = await make_credential(world.db, party.key)
    keys["credential_key"] = str(spare.credential.key)
    contacts = await world.fetch(
        "select contact_id from contacts where integrator_id = $1 and contact_type = 'email'", party.key
    )
    keys["contact_key"] = str(contacts[0]["contact_id"])
    new_device, devices = await _devices(world, party)  # before there is a target, which would hear of them
    endpoint = await world.call("POST", "/webhook_endpoints", {"url": "https://hooks.example.com/"}, key=party.api_key)
    keys["webhook_endpoint_key"] = endpoint.json["webhook_endpoint_key"]
    keys |= await _templates(world, party)
    return Household(party, admin_key, keys | devices | await _operations(world, party), new_device)


async def _devices(world: World, party: Party) -> tuple[Enrollment, dict[str, str]]:
    """An active device that has something to sign, and one that may be registered."""
    active = await registered(world, party, AppKey())
    new_device = Enrollment(world, party, AppKey())
    assert (await new_device.challenge()).status == 201
    waiting = await request_by_device(active)
    return new_device, {"device_key": str(active.device_key), "session_id": str(waiting.session_id)}


def _registration(home: Household) -> Any:
    assert home.new_device is not None
    return home.new_device.body()


async def _templates(world: World, party: Party) -> dict[str, str]:
    """An SMS template that words the messages of a TED."""
    made = await world.call("POST", "/notification/template", SMS_TEMPLATE, key=party.api_key)
    chosen = {"event_type": "baas.token_validation.ted.single", "sms_template_key": made.json["template_key"]}
    configured = await world.call("POST", "/notification/template_configuration", chosen, key=party.api_key)
    return made.json | configured.json


async def _operations(world: World, party: Party) -> dict[str, str]:
    """A Pix, a TED and batches that wait, a Pix that was sent, and one that was cancelled and told."""
    request_control_key, e2e = str(uuid4()), end_to_end_id()
    pix = await world.request(party, **pix_by_key(request_control_key=request_control_key, end_to_end_id=e2e))
    ted = await world.request(party, "ted", request_control_key=request_control_key)
    batches = {
        f"{kind}_key": str(await world.request(party, kind, request_control_key=request_control_key)) for kind in ITEMS
    }
    sent, cancelled = await world.request(party), await world.request(party)
    assert (await world.validate(party, "pix_transfer", sent, await world.token(party, sent))).status == 202
    await world.execute(
        "update challenges set status = 'sent', transaction_key = gen_random_uuid() where operation_id = $1", sent
    )
    cancel = f"/account/{party.account.key}/pix_transfer/{cancelled}/cancel"
    assert (await world.call("PATCH", cancel, key=party.api_key)).status == 200
    (row,) = await world.fetch("select transaction_key from challenges where operation_id = $1", sent)
    (callback,) = await world.fetch("select callback_id from callbacks where integrator_id = $1", party.key)
    return batches | {
        "pix_transfer_key": str(pix),
        "ted_key": str(ted),
        "operation_key": str(pix),
        "request_control_key": request_control_key,
        "end_to_end_id": e2e,
        "transaction_key": str(row["transaction_key"]),
        "origin_key": str(cancelled),
        "callback_key": str(callback["callback_id"]),
    }


def pix_by_key(**change: Any) -> dict[str, Any]:
    """What makes `Party.pix` a transfer to a Pix key."""
    return {
        "pix_transfer_type": "key",
        "target_account": None,
        "target_pix_key": "52998224725",
        "end_to_end_id": end_to_end_id(),
        **change,
    }


SMS_TEMPLATE = {"template_type": "sms", "template": "[amount] p/ [payee_name], codigo [generation]: [token]"}

_I = "/admin/integrators/{integrator_key}"
_A = _I + "/accounts/{account_key}"
_PIX = "/account/{account_key}/pix_transfer"
_TED = "/account/{account_key}/ted"
_DEVICE = "/account/{account_key}/device"
_TEMPLATES = "/notification/template_configuration"
_FEES = {"pix_transfer": 1.5, "ted": 10}

_BATCHES = [f"/account/{{account_key}}/{kind}/{{{kind}_key}}" for kind in ITEMS]


def _signed(home: Household) -> Any:
    """A signature over nothing that was shown."""
    return {"device_key": home.keys["device_key"], "nonce": "A" * 43, "type": "p256", "signature": "AAAA"}


def _batch(kind: str, home: Household) -> Any:
    return request_of(home.party, kind)


# "A route without the test fails": every route with a body has its line here.
BODIES: Mapping[str, Callable[[Household], Any]] = {
    f"POST {_PIX}": lambda home: home.party.pix(**pix_by_key(pix_message="Nota 1207")),
    f"PUT {_PIX}/{{pix_transfer_key}}/validate_token": lambda home: {"token": "UUUUUU"},
    f"PATCH {_PIX}/{{pix_transfer_key}}/resend_token": lambda home: {"contact_type": "email"},
    f"POST {_TED}": lambda home: ted_body(home.party),
    f"PUT {_TED}/{{ted_key}}/validate_token": lambda home: {"token": "UUUUUU"},
    f"PATCH {_TED}/{{ted_key}}/resend_token": lambda home: {"contact_type": "email"},
    **{f"POST /account/{{account_key}}/{kind}": partial(_batch, kind) for kind in ITEMS},
    f"POST {_DEVICE}/challenge": lambda home: {
        "session_id": str(uuid4()),
        "approver_document_number": home.party.document_number,
    },
    f"POST {_DEVICE}": _registration,
    f"PUT {_DEVICE}/{{device_key}}/validate": lambda home: {"token": "UUUUUU"},
    f"PATCH {_DEVICE}/{{device_key}}/resend_token": lambda home: {"contact_type": "email"},
    **{f"POST /device_sessions/{{session_id}}/{decision}": _signed for decision in ("approve", "deny")},
    "POST /approve/{session_id}/waiting": lambda home: {"nonce": "A" * 43, "signature": "AAAA"},
    **{f"PUT {batch}/validate_token": lambda home: {"token": "UUUUUU"} for batch in _BATCHES},
    **{f"PATCH {batch}/resend_token": lambda home: {"contact_type": "email"} for batch in _BATCHES},
    "POST /admin/integrators": lambda home: {"name": "Loja Nova", "ispb": "12345678", "mode": "sandbox"},
    f"PATCH {_I}": lambda home: {"name": "Loja Renomeada", "locale": "en"},
    f"PUT {_I}/fees": lambda home: _FEES,
    f"POST {_I}/credentials": lambda home: {
        "type": "signed",
        "scopes": ["transfers:read"],
        "public_key": pem_of(new_signing_key()),
    },
    f"POST {_I}/accounts": lambda home: {
        "account_branch": "0001",
        "account_number": digits(12),
        "account_digit": "3",
        "owner_document_number": "11222333000181",
        "owner_name": "Loja Exemplo Ltda",
    },
    f"PATCH {_A}": lambda home: {"owner_name": "Loja Exemplo SA"},
    f"POST {_A}/entries": lambda home: {
        "request_control_key": str(uuid4()),
        "entry_type": "credit",
        "amount": 10.5,
        "description": "Saldo",
    },
    f"PUT {_A}/fees": lambda home: _FEES,
    f"PUT {_A}/limits": lambda home: {"pix": {"daily_amount_limit": 20000}, "ted": {}},
    f"POST {_I}/approvers": lambda home: {"document_number": new_cpf(), "name": "Bia Exemplo"},
    f"PATCH {_I}/approvers/{{approver_key}}": lambda home: {"name": "Ana Exemplar"},
    f"POST {_I}/approvers/{{approver_key}}/contacts": lambda home: {"contact_type": "sms", "destination": new_phone()},
    f"PUT {_A}/approvers/{{approver_key}}": lambda home: {"powers": ["pix_transfer"], "max_amount": 100},
    "POST /webhook_endpoints": lambda home: {"url": "https://other.example.com/hook", "headers": {"X-Own": "1"}},
    "PATCH /webhook_endpoints/{webhook_endpoint_key}": lambda home: {"enabled": False},
    "POST /notification/template": lambda home: SMS_TEMPLATE,
    f"POST {_TEMPLATES}": lambda home: {
        "event_type": "baas.token_validation.pix_transfer.single",
        "sms_template_key": home.keys["template_key"],
    },
    f"PUT {_TEMPLATES}/{{template_configuration_key}}": lambda home: {
        "event_type": "baas.token_validation.ted.single",
        "sms_template_key": home.keys["template_key"],
    },
    "POST /sandbox/operations/{operation_key}/advance": lambda home: {"seconds": 1},
}

# Routes that take no body; `rail` has a body of its own kind and tests of its own.
BODILESS = {
    "PATCH /account/{account_key}/pix_transfer/{pix_transfer_key}/cancel",
    "PATCH /account/{account_key}/ted/{ted_key}/cancel",
    *(f"PATCH {batch}/cancel" for batch in _BATCHES),
    "POST /webhook_endpoints/{webhook_endpoint_key}/rotate_secret",
    "POST /notification/callback/{callback_key}/resend",
}
SESSIONS = ("/device_sessions/", "/approve/")  # without a credential: the id and a signature are the proof
RAIL = "POST /rail/{integrator_key}/callbacks"


def body_of(home: Household, method: str, template: str) -> Any:
    """A good body of a route, None if it takes none; KeyError for a route nobody wrote a line for."""
    name = f"{method} {template}"
    if method in ("GET", "DELETE") or name in BODILESS:
        return None
    return BODIES[name](home)


async def make_spare_approver(world: World, home: Household) -> str:
    """The key of an approver without any link."""
    return str((await make_approver(world.db, home.party.key)).key)
