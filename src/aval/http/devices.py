"""Registering devices: challenge, POST, validate, resend, GET one and list, disable (transfers.md §5.1)."""

import secrets
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from aval.domain.calendar import wire_datetime
from aval.domain.challenge import Verdict
from aval.domain.device import DeviceStatus, device_status
from aval.domain.device_proof import base64url
from aval.domain.documents import is_cpf
from aval.domain.errors import Refusal, schema_refusal
from aval.domain.money import ZERO
from aval.domain.request import TransferRequest
from aval.domain.transfer import NOBODY, Kind, Method
from aval.domain.view import approval_view, device_state, device_view
from aval.http.device_answers import DeviceAnswer, DeviceChallengeAnswer, DeviceDetail, DeviceState
from aval.http.device_body import DeviceBody, DeviceChallengeBody, read_attestation
from aval.http.edge import Answer, Call, Route, json_answer
from aval.http.fields import author_of, uuid_of
from aval.http.paging import PAGING, Listing, listing, page_of
from aval.http.parts import Parts
from aval.http.strict_json import decode
from aval.http.transfer_body import Approver, Errors, ResendBody, ValidateBody, fingerprint_of, missing_tfa_info
from aval.http.transfer_calls import NONCE_BYTES, TransferCalls, Views
from aval.operations.challenge_device import challenge_device
from aval.operations.confirm_transfer import Confirmed
from aval.operations.disable_device import disable_device
from aval.operations.register_device import DeviceRequest
from aval.storage.devices import RegisteredDevice, find_device, list_devices

UNAVAILABLE_RETRY_SECONDS = 1


class Devices(TransferCalls):
    """Handlers of device registration; tokens are those of every operation."""

    kind: ClassVar[Kind] = Kind.DEVICE
    views: ClassVar[Views] = Views(
        created=device_view,
        approved=partial(device_view, is_created=True),
        resent=device_view,
        cancelled=device_view,
    )

    async def challenge(self, call: Call) -> Answer:
        """POST /account/{k}/device/challenge."""
        body = decode(call.body, DeviceChallengeBody)
        document = body.approver_document_number.strip(" ")
        if not is_cpf(document):
            raise schema_refusal(("approver_document_number", "invalid_value"))
        made, rp_id = await challenge_device(
            self.app.db,
            integrator_key=call.caller.integrator.key,
            account_key=UUID(call.params["account_key"]),
            session_id=uuid_of(body.session_id, "session_id"),
            document_index=self.app.keyring.current().index_of(f"cpf:{document}"),
        )
        told = DeviceChallengeAnswer(
            session_id=str(made.session_id),
            challenge=base64url(made.challenge),
            rp_id=rp_id,
            expires_at=wire_datetime(made.expires_at),
        )
        return json_answer(201, told)

    async def create(self, call: Call) -> Answer:
        """POST /account/{k}/device."""
        body = decode(call.body, DeviceBody)
        errors = Errors()
        device_key, session_id = errors.uuid(body.device_key, "device_key"), errors.uuid(body.session_id, "session_id")
        body.device_key, body.session_id = str(device_key), str(session_id)
        body.device_name = errors.text(body.device_name, "device_name", characters_max=40)
        approver = self._approver(errors, body)
        attestation = read_attestation(errors, body.credential)
        errors.raise_any()
        account_key = UUID(call.params["account_key"])
        asked = TransferRequest(
            principal=call.caller,
            kind=self.kind,
            account_key=account_key,
            key=device_key,
            nonce=secrets.token_bytes(NONCE_BYTES),
            request_control_key=device_key,
            fingerprint=fingerprint_of(self.app.keyring.current(), account_key.bytes, msgspec.json.encode(body)),
            correlation_id=call.correlation_id,
            amount=ZERO,
            payee=NOBODY,
            approver_index=approver.index if approver else b"",
            method=approver.method if approver else Method.SMS,
            refusal=missing_tfa_info(self.kind) if approver is None else None,
        )
        request = DeviceRequest(asked, session_id, body.device_name, attestation)
        made = await self.desk.register_device(request)
        if not made.is_replay:
            return Answer(202, msgspec.json.encode(device_view(made.transfer, made.challenge)))
        found = await self._find(call, device_key)
        told = device_view(made.transfer, made.challenge)
        if found.device.disabled_at is not None:
            told["device_status"] = DeviceStatus.DISABLED.value
        return Answer(202, msgspec.json.encode(told), {"idempotent-replayed": "true"})

    def _approver(self, errors: Errors, body: DeviceBody) -> Approver | None:
        info = body.tfa_info
        if info is None:
            return None
        info.approver_document_number = info.approver_document_number.strip(" ")
        if not is_cpf(info.approver_document_number):
            errors.add("tfa_info.approver_document_number")
        index = self.app.keyring.current().index_of(f"cpf:{info.approver_document_number}")
        return Approver(index, Method(info.contact_type))

    def _confirmed(self, outcome: Confirmed, *, is_resend: bool = False) -> Answer:
        if outcome.verdict is Verdict.KEY_UNAVAILABLE:
            raise Refusal("qit.service_unavailable", headers={"Retry-After": str(UNAVAILABLE_RETRY_SECONDS)})
        return super()._confirmed(outcome, is_resend=is_resend)

    async def read_one(self, call: Call) -> Answer:
        """GET /account/{k}/device/{device_key}."""
        return json_answer(200, _detail(await self._find(call, UUID(call.params["device_key"]))))

    async def _find(self, call: Call, device_key: UUID) -> RegisteredDevice:
        integrator_key, account_key = call.caller.integrator.key, UUID(call.params["account_key"])
        async with self.app.db.connection() as connection:
            found = await find_device(connection, integrator_key, account_key, device_key)
            if found is None:
                await self._know_account(connection, integrator_key, account_key)
                raise Refusal("device.operation_not_found")
        return found

    async def list_all(self, call: Call) -> Answer:
        """GET /account/{k}/devices."""
        integrator_key, account_key = call.caller.integrator.key, UUID(call.params["account_key"])
        page = page_of(call)
        async with self.app.db.connection() as connection:
            await self._know_account(connection, integrator_key, account_key)
            rows = await list_devices(connection, integrator_key, account_key, offset=page.offset, limit=page.limit)
        return json_answer(200, listing(page, rows, _detail))

    async def disable(self, call: Call) -> Answer:
        """DELETE /account/{k}/device/{device_key}/disable."""
        registration, status = await disable_device(
            self.app.db,
            integrator_key=call.caller.integrator.key,
            account_key=UUID(call.params["account_key"]),
            device_key=UUID(call.params["device_key"]),
            author=author_of(call),
        )
        return json_answer(200, device_state(registration, status.value))


def _detail(found: RegisteredDevice) -> dict[str, Any]:
    device, challenge = found.device, found.challenge
    assert challenge.updated_at is not None
    status = device_status(challenge, is_disabled=device.disabled_at is not None)
    told = {
        "device_key": device.key,
        "device_status": status.value,
        "device_name": device.name,
        "approver_document_number": found.document_masked,
        "created_at": wire_datetime(device.created_at),
        "updated_at": wire_datetime(device.disabled_at or challenge.updated_at),
    }
    return told | {"approval": approval_view(challenge)} if challenge.is_pending else told


def routes(app: Parts) -> list[Route]:
    """List the routes of device registration."""
    calls = Devices(app)
    many = "/account/{account_key}/device"
    one = f"{many}/{{device_key}}"

    def route(method: str, path: str, handler: Any, success: int, summary: str, slugs: str, **more: Any) -> Route:
        refusals = tuple(f"device.{slug}" for slug in ("account_not_found", *slugs.split()))
        return Route(
            method, path, handler, "devices:write", "integrator", "qit", success, summary, refusals=refusals, **more
        )

    created = "account_unavailable idempotency_conflict approver_not_allowed"
    token = "operation_not_found idempotency_conflict attempts_exceeded invalid_status"
    sent = "contact_not_available channel_closed_on_create"
    return [
        route(
            *("POST", f"{many}/challenge", calls.challenge, 201, "Get what a new device has to sign", created),
            request=DeviceChallengeBody,
            response=DeviceChallengeAnswer,
        ),
        route(
            *("POST", many, calls.create, 202, "Register a device"),
            f"{created} tfa_info_required invalid_nonce invalid_device_proof {sent}",
            request=DeviceBody,
            response=DeviceAnswer,
        ),
        route(
            *("PUT", f"{one}/validate", calls.validate, 201, "Activate a device with the token"),
            f"{token} token_required token_expired incorrect_token approver_not_allowed account_unavailable",
            request=ValidateBody,
            response=DeviceState,
            empty_body=True,
        ),
        route(
            *("PATCH", f"{one}/resend_token", calls.resend, 202, "Send a new token"),
            f"{token} resend_limit_reached resend_too_soon {sent}",
            request=ResendBody,
            response=DeviceAnswer,
            empty_body=True,
        ),
        route("GET", one, calls.read_one, 200, "Read one device", "operation_not_found", response=DeviceDetail),
        route(
            *("GET", f"{many}s", calls.list_all, 200, "List devices", ""),
            response=Listing[DeviceDetail],
            query=PAGING,
        ),
        route(
            *("DELETE", f"{one}/disable", calls.disable, 200, "Switch a device off", "operation_not_found"),
            response=DeviceState,
        ),
    ]
