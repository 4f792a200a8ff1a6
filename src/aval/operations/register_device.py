"""Accept the registration of a device: check what it proves, store it, promise the token that makes it active."""

from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from msgspec.structs import replace

from aval.domain.device import Device, DeviceCredential, RelyingParty
from aval.domain.device_proof import (
    P256Attestation,
    ProofRefused,
    WebauthnAttestation,
    attested_p256,
    attested_webauthn,
)
from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring, Purpose
from aval.domain.money import ZERO
from aval.domain.principal import PrincipalStale
from aval.domain.request import RequestFacts, TransferRequest, first_challenge, is_twin, refuse
from aval.domain.template import chosen_template
from aval.domain.transfer import NOBODY, Transfer, details_digest_of
from aval.operations.fresh import fresh_key
from aval.operations.request_transfer import TRIES_MAX, Requested, Rules, is_off, read_facts
from aval.storage.database import Connection, Database, LockNotWon
from aval.storage.devices import RegistrationFacts, SessionTaken, insert_device, read_registration_facts
from aval.storage.message_counts import lock_approvers
from aval.storage.requests import insert_transfers, read_operation


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """One registration, decoded; `asked` is the operation of kind `device` whose key is the device's."""

    asked: TransferRequest
    session_id: UUID
    name: str = field(repr=False)
    attestation: WebauthnAttestation | P256Attestation = field(repr=False)

    def credential(self, challenge: bytes, party: RelyingParty) -> DeviceCredential:
        """What the device proved to hold; raises ProofRefused."""
        if isinstance(self.attestation, P256Attestation):
            return attested_p256(self.attestation, challenge=challenge, device_key=self.asked.key)
        return attested_webauthn(self.attestation, challenge=challenge, party=party)


class _Known(NamedTuple):
    """What is known of a registration: of it as an operation, and of its session."""

    facts: RequestFacts
    registration: RegistrationFacts


class _Collided(Exception):
    """Another request took the key between judging and storing; nothing of this one was stored."""


async def register_device(db: Database, *, request: DeviceRequest, keyring: Keyring, rules: Rules) -> Requested:
    """Judge a registration and store it with its challenge and first message, or nothing of it.

    What another request took meanwhile is met by judging again. Raises Refusal, PrincipalStale, LockNotWon.
    """
    kid = keyring.current(Purpose.TOKEN).kid
    for _ in range(TRIES_MAX):
        try:
            return await _registered(db, request, kid, rules)
        except (_Collided, SessionTaken):
            continue
    raise LockNotWon


async def _registered(db: Database, request: DeviceRequest, kid: str, rules: Rules) -> Requested:
    integrator = request.asked.principal.integrator
    async with db.reading() as connection:
        known = await _read(connection, request, rules)
        credential = _judged(request, known, rules)
        if credential is None:
            assert known.facts.twin_key is not None
            found = await read_operation(connection, integrator.key, known.facts.twin_key)
            assert found is not None
            return Requested(*found, is_replay=True)
    async with db.transaction() as connection:
        if integrator.budgets:  # messages and pending operations are counted under a lock (docs/adr/0023)
            assert known.facts.approver_key is not None
            await lock_approvers(connection, [(integrator.key, known.facts.approver_key)], may_wait=True)
            known = await _read(connection, request, rules)
            credential = _judged(request, known, rules)
            if credential is None:
                raise _Collided
        return await _stored(connection, request, known.facts, credential, kid)


async def _read(connection: Connection, request: DeviceRequest, rules: Rules) -> _Known:
    asked = request.asked
    integrator_key = asked.principal.integrator.key
    registration = await read_registration_facts(connection, integrator_key, request.session_id, asked.key)
    (facts,) = await read_facts(connection, [asked], rules)  # later, so that who took the key is known as its twin
    return _Known(facts, registration)


def _judged(request: DeviceRequest, known: _Known, rules: Rules) -> DeviceCredential | None:
    """What the device holds, or None if this is a repeat of a registration; raises why it is refused."""
    asked, facts = request.asked, known.facts
    if not facts.is_authentic or not facts.is_current:
        raise PrincipalStale
    if facts.account_status is None:
        raise Refusal("device.account_not_found")
    if is_twin(asked, facts):
        return None
    credential, faulty = _proven(request, known)
    is_channel_off = is_off(rules, asked.principal.integrator, asked.method)
    refuse(replace(asked, refusal=asked.refusal or faulty), facts, ZERO, is_channel_off=is_channel_off)
    return credential


def _proven(request: DeviceRequest, known: _Known) -> tuple[DeviceCredential | None, Refusal | None]:
    registration, challenge = known.registration, known.registration.challenge
    if registration.is_key_used or registration.is_session_used:
        return None, Refusal("device.idempotency_conflict")
    is_asked = challenge is not None and challenge.account_key == request.asked.account_key
    if challenge is None or not is_asked or registration.now >= challenge.expires_at:
        return None, Refusal("device.invalid_nonce")
    if challenge.approver_key != known.facts.approver_key:
        return None, Refusal("device.approver_not_allowed")
    try:
        return request.credential(challenge.challenge, registration.party), None
    except ProofRefused:
        return None, Refusal("device.invalid_device_proof")


async def _stored(
    connection: Connection, request: DeviceRequest, facts: RequestFacts, credential: DeviceCredential | None, kid: str
) -> Requested:
    asked = request.asked
    integrator = asked.principal.integrator
    assert facts.approver_key is not None and credential is not None
    registration = Transfer(
        integrator_key=integrator.key,
        key=asked.key,
        kind=asked.kind,
        account_key=asked.account_key,
        approver_key=facts.approver_key,
        credential_key=asked.principal.credential_key,
        request_control_key=asked.request_control_key,
        request_fingerprint=asked.fingerprint,
        end_to_end_id=None,
        amount=ZERO,
        fee=ZERO,
        payee=NOBODY,
        pix_transfer_type=None,
        pix_message=None,
        receiver_conciliation_id=None,
        nonce=asked.nonce,
        correlation_id=asked.correlation_id,
        created_at=facts.now,
        device_name=request.name,
    )
    registration = replace(registration, details_digest=details_digest_of(registration))
    challenge = first_challenge(asked, facts, kid)
    template_key = chosen_template(integrator, asked.kind, asked.method.value)
    if not await insert_transfers(connection, [(registration, challenge, fresh_key(), template_key)]):
        raise _Collided
    device = Device(
        integrator_key=integrator.key,
        key=asked.key,
        account_key=asked.account_key,
        approver_key=facts.approver_key,
        session_id=request.session_id,
        name=request.name,
        credential=credential,
        created_at=facts.now,
    )
    await insert_device(connection, device)
    return Requested(registration, challenge)
