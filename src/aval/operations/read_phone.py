"""Show the back office a device; who reads a number in full is written down."""

from uuid import UUID

from aval.domain.keyring import KeyMissing, Keyring
from aval.operations.phone_call import no_device
from aval.operations.record_act import Author, record_act
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.phones import ShownPhone, find_tenant_of_phone, read_sealed_number, read_shown_phone

NUMBER_READ = "device.number_read"  # in the audit


async def read_phone(
    db: Database, *, device_key: UUID, keyring: Keyring, is_full: bool, author: Author
) -> tuple[ShownPhone, str | None]:
    """Read a device of any campaign, and its number if asked for and not erased; the act is committed first.

    Raises Refusal.
    """
    async with db.transaction() as connection:
        tenant_key = await find_tenant_of_phone(connection, device_key)
        shown = None if tenant_key is None else await read_shown_phone(connection, tenant_key, device_key)
        if shown is None or tenant_key is None:
            raise no_device()
        if not is_full:
            return shown, None
        number_sealed = await read_sealed_number(connection, tenant_key, device_key)
        await record_act(
            connection,
            author,
            NUMBER_READ,
            integrator_key=tenant_key,
            key=device_key,
            at=await read_clock(connection),
            details={"participant": shown.device.participant_key},
        )
    try:
        number = keyring.opened(number_sealed, associated=f"contacts/{device_key}") if number_sealed else ""
    except KeyMissing:  # the mask is all there is
        number = ""
    return shown, number or None
