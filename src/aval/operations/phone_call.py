"""What calls on one security device share: who asks, the guard of the participant, and what a judged token leaves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from aval.domain.caller import Caller
from aval.domain.challenge import Challenge, Verdict
from aval.domain.errors import Refusal
from aval.domain.phone import PhoneDevice
from aval.domain.redemption_call import RedemptionCall
from aval.domain.token import Token
from aval.domain.transfer import Kind, Reason
from aval.operations.confirm_redemption import KEPT_VERDICTS, Judged, Kept, keep_judged
from aval.operations.move_phones import PhoneMove, move_phones
from aval.operations.record_act import Author
from aval.operations.register_phone import refuse_impersonator
from aval.storage.database import Connection
from aval.storage.participants import guard_participants
from aval.storage.phones import ShownPhone, find_phone
from aval.storage.redemption_calls import read_known

KINDS = frozenset({Kind.DEVICE_REGISTRATION, Kind.DEVICE_REPLACEMENT})


@dataclass(frozen=True, slots=True)
class PhoneJudged:
    """What validate_token or resend_token came to; `challenge` is the one that was judged."""

    shown: ShownPhone
    challenge: Challenge
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class PhoneCall:
    """One call on a device of a participant. `render` makes status and body to keep under its Idempotency-Key."""

    caller: Caller
    participant_key: UUID
    device_key: UUID
    path: str
    correlation_id: str
    render: Callable[[PhoneJudged], tuple[int, bytes]] = field(repr=False)
    token: Token | None = field(default=None, repr=False)
    idempotency_key: str | None = None
    fingerprint: bytes = field(default=b"", repr=False)

    @property
    def author(self) -> Author:
        """Who its audit rows name."""
        return Author(self.caller.actor, self.correlation_id)

    def on(self, operation_key: UUID) -> RedemptionCall:
        """The call on the operation the device waits for."""
        return RedemptionCall(
            caller=self.caller,
            operation_key=operation_key,
            participant_key=self.participant_key,
            path=self.path,
            correlation_id=self.correlation_id,
            kinds=KINDS,
            unknown="rdm.resource_not_found",
            token=self.token,
            idempotency_key=self.idempotency_key,
            fingerprint=self.fingerprint,
        )


async def guarded_phone(connection: Connection, call: PhoneCall) -> PhoneDevice:
    """Take the guard of the participant and read the device, which nobody else moves then but to end its window."""
    tenant_key = call.caller.tenant.key
    await guard_participants(connection, [(tenant_key, call.participant_key)])
    if not await _is_repeated(connection, call):
        await refuse_impersonator(connection, call.caller, tenant_key, call.participant_key)
    device = await find_phone(connection, tenant_key, call.device_key)
    if device is None or device.participant_key != call.participant_key:
        raise no_device()
    return device


async def _is_repeated(connection: Connection, call: PhoneCall) -> bool:
    """Whether the call was answered before under its key: what it brought about does not forbid to say so again."""
    if call.idempotency_key is None:
        return False
    _, (known,) = await read_known(connection, [call.on(call.device_key)])
    return known.kept is not None


def no_device() -> Refusal:
    """Make the refusal of a device that is unknown, of another participant or of another campaign."""
    return Refusal("rdm.resource_not_found", extra_fields={"resource": "device"})


async def failed_with(connection: Connection, call: PhoneCall, device: PhoneDevice, judged: Judged) -> PhoneDevice:
    """Make the device `failed` whose challenge was rejected by this call."""
    assert judged.after.rejection_reason is not None
    after = device.failed(Reason(judged.after.rejection_reason), judged.now)
    await move_phones(connection, [PhoneMove(device, after, call.author, judged.audit_details)])
    return after


async def keep_answer(connection: Connection, call: PhoneCall, judged: Judged, outcome: PhoneJudged) -> PhoneJudged:
    """Keep what is answered under the call's key, if it is to be kept."""
    if judged.verdict in KEPT_VERDICTS and call.idempotency_key is not None:
        await keep_judged(connection, [(judged.call, judged.now, Kept(*call.render(outcome)))])
    return outcome
