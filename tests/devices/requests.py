"""Registrations handed to the operation as the edge would hand them."""

import os
from uuid import UUID, uuid4

from aval.domain.device_proof import P256Attestation, from_base64url
from aval.domain.money import ZERO
from aval.domain.request import TransferRequest
from aval.domain.transfer import NOBODY, Kind, Method
from aval.operations.challenge_device import challenge_device
from aval.operations.register_device import DeviceRequest, register_device
from aval.operations.request_transfer import Rules
from tests.devices.authenticator import AppKey
from tests.factories import Party, make_keyring
from tests.stage import Stage


async def device_request(stage: Stage, party: Party, device_key: UUID | None = None) -> DeviceRequest:
    """A challenged app key that may be registered by SMS."""
    index, session_id = make_keyring().index_of(f"cpf:{party.document_number}"), uuid4()
    device_key = device_key or uuid4()
    asked, _ = await challenge_device(
        stage.parts.db,
        integrator_key=party.key,
        account_key=party.account.key,
        session_id=session_id,
        document_index=index,
    )
    proof = AppKey().make_credential(asked.challenge, device_key)
    attestation = P256Attestation(from_base64url(proof["public_key"]) or b"", from_base64url(proof["signature"]) or b"")
    request = TransferRequest(
        principal=await party.principal(stage.db),
        kind=Kind.DEVICE,
        account_key=party.account.key,
        key=device_key,
        nonce=os.urandom(16),
        request_control_key=device_key,
        fingerprint=os.urandom(32),
        correlation_id="tests",
        amount=ZERO,
        payee=NOBODY,
        approver_index=index,
        method=Method.SMS,
    )
    return DeviceRequest(request, session_id, "Celular da Ana", attestation)


async def active_device(stage: Stage, party: Party) -> DeviceRequest:
    """A registered app key."""
    request = await device_request(stage, party)
    await register_device(stage.parts.db, request=request, keyring=make_keyring(), rules=Rules())
    key = request.asked.key
    reply = await stage.call(party, "PUT", f"device/{key}/validate", {"token": await stage.token(party, key)})
    assert reply.status == 201, reply.body
    return request
