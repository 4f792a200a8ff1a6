"""Security devices: registered, proven, listed, removed by participants; blocked and reset by the operator (§3.1, §12).

Numbers are masked everywhere but for `devices.read_full`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal
from uuid import UUID

import msgspec

from aval.domain.challenge import Verdict
from aval.domain.contact import normalized_phone
from aval.domain.errors import Refusal
from aval.domain.phone import PhoneStatus, phone_view
from aval.http.edge import ANY_SCOPE, Access, Answer, Call, Route, encoded, json_answer
from aval.http.fields import author_of, text_of
from aval.http.parts import Parts
from aval.http.redemptions.participants import NOT_FOUND, PARTICIPANT
from aval.http.redemptions.phone_answers import DeviceAnswer, DeviceListing
from aval.http.redemptions.route import PAGE, Listing, page_of, participant_of, redemption_route, uuid_or
from aval.http.redemptions.tokens import (
    RESEND_REFUSALS,
    TOKEN_REFUSALS,
    ResendBody,
    TokenBody,
    channel_of,
    token_of,
    token_problem,
)
from aval.http.strict_json import decode
from aval.http.transfer_body import fingerprint_of
from aval.operations.block_phone import block_phone, unblock_phone
from aval.operations.confirm_phone import confirm_phone
from aval.operations.confirm_redemption import Kept
from aval.operations.phone_call import PhoneCall, PhoneJudged
from aval.operations.read_phone import read_phone
from aval.operations.register_phone import PhoneRequest, register_phone
from aval.operations.remove_phone import remove_phone
from aval.operations.request_transfer import Rules
from aval.operations.resend_phone import resend_phone
from aval.operations.reset_phone import reset_phone
from aval.storage.phones import ShownPhone, list_shown_phones

DEVICES = PARTICIPANT + "/devices"
DEVICE = DEVICES + "/{device_id}"
OPERATED = "/devices/{device_id}"
UNKNOWN = "rdm.resource_not_found"
ADMIN, READ_FULL = "devices.admin", "devices.read_full"
ONBOARDING, READ = "onboarding.write", "participants.read"
REASON_CHARACTERS_MAX = 200

_OWN = Access(impersonator=ONBOARDING, participant=ONBOARDING)
_CHANGED = (NOT_FOUND, UNKNOWN, "rdm.impersonation_forbidden")


class DeviceBody(msgspec.Struct, forbid_unknown_fields=True):
    """The phone to register: a Brazilian mobile number in E.164."""

    type: Literal["phone"]
    number: str


class ReasonBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why the operator acts; it goes into the audit trail."""

    reason: str


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    phones = Phones(app)
    return [*_own_routes(phones), *_operated_routes(phones)]


def _own_routes(phones: "Phones") -> list[Route]:
    return [
        redemption_route(
            "POST",
            DEVICES,
            phones.register,
            _OWN,
            202,
            "Register a phone as security device: the token goes to its number",
            request=DeviceBody,
            response=DeviceAnswer,
            refusals=(
                *(NOT_FOUND, "rdm.impersonation_forbidden", "rdm.phone_incorrect", "rdm.wrong_status"),
                *("rdm.registration_limit", "rdm.device_number_in_use", "rdm.resend_limit", "rdm.token_budget"),
            ),
        ),
        redemption_route(
            "GET",
            DEVICES,
            phones.list_of_participant,
            Access(ANY_SCOPE, impersonator=READ, participant=READ),
            200,
            "List the security devices of a participant, newest first, numbers masked",
            response=DeviceListing,
            query=PAGE,
            refusals=(NOT_FOUND,),
        ),
        redemption_route(
            "PUT",
            DEVICE + "/validate_token",
            phones.validate,
            _OWN,
            201,
            "Prove a phone by its token; 202 if the former device has to agree by one of its own",
            request=TokenBody,
            response=DeviceAnswer,
            empty_body=True,
            other_success=202,
            refusals=(*_CHANGED, *TOKEN_REFUSALS, "rdm.device_number_in_use", "rdm.resend_limit"),
        ),
        redemption_route(
            "PUT",
            DEVICE + "/resend_token",
            phones.resend,
            _OWN,
            202,
            "Send a new token of a registration; the one before is void",
            request=ResendBody,
            response=DeviceAnswer,
            empty_body=True,
            refusals=(*_CHANGED, *RESEND_REFUSALS),
        ),
        redemption_route(
            "DELETE",
            DEVICE,
            phones.remove,
            Access(participant=ONBOARDING),
            204,
            "Remove the device, or end its registration; purchases that wait for it end, documents are asked for again",
            refusals=(*_CHANGED, "rdm.wrong_status"),
        ),
    ]


def _operated_routes(phones: "Phones") -> list[Route]:
    acts = (
        ("block", phones.block, "Block a lost or suspicious phone: purchases that wait for it end"),
        ("unblock", phones.unblock, "Let a blocked phone be used again"),
        ("reset", phones.reset, "Take a phone away for its participant, who then registers anew"),
    )
    return [
        redemption_route(
            "GET",
            OPERATED,
            phones.read,
            Access(ANY_SCOPE),
            200,
            "Read a device; its number in full with `devices.read_full`, which is audited",
            response=DeviceAnswer,
            refusals=(UNKNOWN,),
        ),
        *(
            redemption_route(
                "POST",
                f"{OPERATED}/{name}",
                handler,
                Access(ADMIN),
                200,
                summary,
                request=ReasonBody,
                response=DeviceAnswer,
                refusals=(UNKNOWN, "rdm.wrong_status"),
            )
            for name, handler, summary in acts
        ),
    ]


class Phones:
    """Handlers of security devices."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def register(self, call: Call) -> Answer:
        """POST /participants/{p}/devices."""
        _, participant_key = await participant_of(self._app.db, call)
        number = normalized_phone(decode(call.body, DeviceBody).number)
        if number is None:
            raise Refusal("rdm.phone_incorrect")
        request = PhoneRequest(call.redeemer, participant_key, number, call.correlation_id)
        keyring, figures = self._app.keyring.current(), self._rules.figures
        shown = await register_phone(self._app.db, request=request, keyring=keyring, figures=figures)
        return json_answer(202, _view(shown))

    async def list_of_participant(self, call: Call) -> Answer:
        """GET /participants/{p}/devices."""
        tenant_key, participant_key = await participant_of(self._app.db, call)
        page = page_of(call)
        async with self._app.db.reading() as connection:
            found, total = await list_shown_phones(
                connection, tenant_key, participant_key, offset=page.offset, limit=page.limit
            )
        return json_answer(200, Listing([_view(shown) for shown in found], page.offset, page.limit, total))

    async def validate(self, call: Call) -> Answer:
        """PUT /participants/{p}/devices/{id}/validate_token."""
        token, told = token_of(call)
        asked = replace(await self._asked(call, "validate_token", told, _validated), token=token)
        keyring, figures = self._app.keyring.current(), self._rules.figures
        outcome = await confirm_phone(self._app.db, call=asked, keyring=keyring, figures=figures)
        return _answer(outcome, asked)

    async def resend(self, call: Call) -> Answer:
        """PUT /participants/{p}/devices/{id}/resend_token."""
        asked = await self._asked(call, "resend_token", channel_of(call), _resent)
        outcome = await resend_phone(self._app.db, call=asked, figures=self._rules.figures)
        return _answer(outcome, asked)

    async def remove(self, call: Call) -> Answer:
        """DELETE /participants/{p}/devices/{id}."""
        tenant_key, participant_key = await participant_of(self._app.db, call)
        await remove_phone(
            self._app.db,
            tenant_key=tenant_key,
            participant_key=participant_key,
            device_key=uuid_or(call, "device_id", UNKNOWN),
            author=author_of(call),
        )
        return Answer(204)

    async def read(self, call: Call) -> Answer:
        """GET /devices/{id}."""
        shown, number = await read_phone(
            self._app.db,
            device_key=uuid_or(call, "device_id", UNKNOWN),
            keyring=self._app.keyring.current(),
            is_full=call.redeemer.may(READ_FULL),
            author=author_of(call),
        )
        return json_answer(200, _view(shown) | ({} if number is None else {"number": number}))

    async def block(self, call: Call) -> Answer:
        """POST /devices/{id}/block."""
        key, reason = _act_of(call)
        shown = await block_phone(self._app.db, device_key=key, reason=reason, author=author_of(call))
        return json_answer(200, _view(shown))

    async def unblock(self, call: Call) -> Answer:
        """POST /devices/{id}/unblock."""
        key, reason = _act_of(call)
        shown = await unblock_phone(self._app.db, device_key=key, reason=reason, author=author_of(call))
        return json_answer(200, _view(shown))

    async def reset(self, call: Call) -> Answer:
        """POST /devices/{id}/reset."""
        key, reason = _act_of(call)
        shown = await reset_phone(self._app.db, device_key=key, reason=reason, author=author_of(call))
        return json_answer(200, _view(shown))

    @property
    def _rules(self) -> Rules:
        assert self._app.desk is not None
        return self._app.desk.rules

    async def _asked(
        self, call: Call, name: str, told: bytes, render: Callable[[PhoneJudged], tuple[int, bytes]]
    ) -> PhoneCall:
        _, participant_key = await participant_of(self._app.db, call)
        device_key = uuid_or(call, "device_id", UNKNOWN)
        key = call.headers.get("idempotency-key")
        return PhoneCall(
            caller=call.redeemer,
            participant_key=participant_key,
            device_key=device_key,
            path=f"/participants/{participant_key}/devices/{device_key}/{name}",
            correlation_id=call.correlation_id,
            render=render,
            idempotency_key=key,
            fingerprint=b"" if key is None else fingerprint_of(self._app.keyring.current(), told),
        )


def _act_of(call: Call) -> tuple[UUID, str]:
    key = uuid_or(call, "device_id", UNKNOWN)
    reason = decode(call.body, ReasonBody).reason
    return key, text_of(reason, "reason", characters_max=REASON_CHARACTERS_MAX)


def _answer(outcome: PhoneJudged | Kept, asked: PhoneCall) -> Answer:
    return Answer(outcome.status, outcome.body) if isinstance(outcome, Kept) else Answer(*asked.render(outcome))


def _validated(outcome: PhoneJudged) -> tuple[int, bytes]:
    is_waiting = outcome.shown.device.status is PhoneStatus.PENDING_REPLACEMENT
    return _told(outcome, 202 if is_waiting else 201)


def _resent(outcome: PhoneJudged) -> tuple[int, bytes]:
    return _told(outcome, 202)


def _told(outcome: PhoneJudged, success: int) -> tuple[int, bytes]:
    view = _view(outcome.shown)
    if outcome.verdict is Verdict.APPROVED:
        return success, encoded(view)
    answer = token_problem(outcome.verdict, outcome.challenge, {"device_data": view})
    return answer.status, answer.body


def _view(shown: ShownPhone) -> dict[str, Any]:
    return phone_view(shown.device, shown.challenge, now=shown.now, delivery=shown.delivery)
