"""Switch a device off: at once, for good, and without a token."""

from uuid import UUID

from aval.domain.challenge import Challenge
from aval.domain.device import DeviceStatus, device_status
from aval.domain.errors import Refusal
from aval.domain.transfer import Status, Transfer, moved_to
from aval.domain.view import device_event
from aval.operations.confirm_transfer import event_of
from aval.operations.device_events import DEVICE_CHANGED, device_event_row
from aval.operations.fresh import fresh_key
from aval.operations.record_act import Author, record_act
from aval.operations.resend_token import expiry
from aval.storage.accounts import find_account
from aval.storage.challenges import Decision, lock_operations, write_decisions
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.devices import disable, lock_device
from aval.storage.sequences import advance_sequence
from aval.storage.webhook_events import append_events


async def disable_device(
    db: Database, *, integrator_key: UUID, account_key: UUID, device_key: UUID, author: Author
) -> tuple[Transfer, DeviceStatus]:
    """Disable a device, whether it waits for its token or is active; a repeat changes nothing. Raises Refusal.

    Validation of its token and whatever it signed are judged under locks this call takes too, so that nothing of it
    counts once this commits.
    """
    operation = (integrator_key, device_key)
    async with db.transaction() as connection:
        found = (await lock_operations(connection, [operation], may_wait=True)).get(operation)
        device = await lock_device(connection, integrator_key, device_key)
        if found is None or device is None or device.account_key != account_key:
            if await find_account(connection, integrator_key, account_key) is None:
                raise Refusal("device.account_not_found")
            raise Refusal("device.operation_not_found")
        registration, challenge = found
        if challenge.is_pending:
            challenge = await _end(connection, registration, challenge, author)
        elif challenge.status is Status.APPROVED and device.disabled_at is None:
            await _switch_off(connection, registration, challenge, author)
            return registration, DeviceStatus.DISABLED
        return registration, device_status(challenge, is_disabled=device.disabled_at is not None)


async def _end(connection: Connection, registration: Transfer, before: Challenge, author: Author) -> Challenge:
    now = await read_clock(connection)
    decision = (
        expiry(registration, before, now, actor=author.name, correlation_id=author.correlation_id)
        if before.is_overdue(now)
        else Decision(
            transfer=registration,
            before=before,
            status=moved_to(before.status, Status.CANCELLED),
            attempts_used=before.attempts_used,
            rejection_reason=None,
            refusal=None,
            comparison=None,
            at=now,
            is_budgeted=False,
            audit_key=fresh_key(),
            actor=author.name,
            correlation_id=author.correlation_id,
        )
    )
    await write_decisions(connection, [decision])
    await append_events(connection, [event_of(decision)])
    return decision.after


async def _switch_off(connection: Connection, registration: Transfer, challenge: Challenge, author: Author) -> None:
    now = await read_clock(connection)
    await disable(connection, registration.integrator_key, registration.key, now)
    sequence = await advance_sequence(connection, registration.integrator_key, registration.key)
    told = device_event(registration, DeviceStatus.DISABLED)
    await append_events(connection, [device_event_row(registration, DEVICE_CHANGED, told, sequence=sequence, at=now)])
    await record_act(
        connection,
        author,
        "devices.disabled",
        integrator_key=registration.integrator_key,
        key=registration.key,
        at=now,
        details={"approver": registration.approver_key, "account": registration.account_key},
    )
