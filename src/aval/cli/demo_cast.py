"""Who plays in the demo: an integrator with an account, an approver and a webhook target, made through the API."""

from dataclasses import dataclass, field
from uuid import UUID, uuid4

import msgspec

from aval.cli.demo_calls import Caller, Receiver, Wire
from aval.domain.money import Brl

INTEGRATOR_NAME = "Banco Aurora"
APPROVER_NAME = "Beatriz Nogueira"
ACCOUNT_NAME = "Livraria Horizonte Ltda"
CPF = "11144477735"
PHONE = "+5511987651234"
EMAIL = "beatriz@livraria.example.com"
BALANCE = Brl(25_000_00)
TED_FEE = Brl(8_50)
POWERS = ["pix_transfer", "pix_transfer_batch", "ted"]
SCOPES = ["transfers:write", "transfers:read", "devices:write", "webhooks:write", "sandbox"]


@dataclass(frozen=True, slots=True)
class Cast:
    """The keys of everybody."""

    integrator_key: UUID
    account_key: UUID
    api_key: str = field(repr=False)


async def engage(admin: Caller) -> Cast:
    """Make a sandbox integrator, so that the hour and the day do not matter, and all it needs to transfer."""
    integrator = await admin.post(
        "/admin/integrators", {"name": INTEGRATOR_NAME, "ispb": "12345678", "mode": "sandbox", "locale": "en"}
    )
    base = f"/admin/integrators/{integrator['integrator_key']}"
    await admin.put(f"{base}/fees", {"ted": number(TED_FEE), "pix_transfer": 0})
    account_key = await _account(admin, base)
    await _approver(admin, base, account_key)
    credential = await admin.post(f"{base}/credentials", {"type": "bearer", "scopes": SCOPES})
    return Cast(UUID(integrator["integrator_key"]), UUID(account_key), credential["api_key"])


async def _account(admin: Caller, base: str) -> str:
    account = {
        "account_branch": "0001",
        "account_number": "4821567",
        "account_digit": "8",
        "owner_document_number": "11222333000181",
        "owner_name": ACCOUNT_NAME,
    }
    key: str = (await admin.post(f"{base}/accounts", account))["account_key"]
    entry = {
        "request_control_key": str(uuid4()),
        "entry_type": "credit",
        "amount": number(BALANCE),
        "description": "Opening balance",
    }
    await admin.post(f"{base}/accounts/{key}/entries", entry)
    return key


async def _approver(admin: Caller, base: str, account_key: str) -> None:
    approver = await admin.post(f"{base}/approvers", {"document_number": CPF, "name": APPROVER_NAME})
    key = approver["approver_key"]
    for contact_type, destination in (("sms", PHONE), ("email", EMAIL)):
        contact = {"contact_type": contact_type, "destination": destination}
        await admin.post(f"{base}/approvers/{key}/contacts", contact)
    await admin.put(f"{base}/accounts/{account_key}/approvers/{key}", {"powers": POWERS})


async def listen(wire: Wire, receiver: Receiver) -> None:
    """Register the receiver as a webhook target, and give it the secret that is shown this once."""
    receiver.secret = (await wire.aval.create_webhook_endpoint(receiver.url)).secret


def number(amount: Brl) -> msgspec.Raw:
    """The amount as the exact JSON number of the wire."""
    return msgspec.Raw(amount.wire().encode())
