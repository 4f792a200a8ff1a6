"""Set what an item costs, for an integrator or for one account."""

from dataclasses import dataclass
from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.money import ZERO, Brl
from aval.operations.record_act import Author, changed, record_act
from aval.storage.accounts import lock_account, update_account_fees
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.integrators import lock_integrator, update_integrator_fees


@dataclass(frozen=True, slots=True)
class Fees:
    """What an item costs by kind; None on an account means the integrator's fee, on an integrator nothing."""

    pix_transfer: Brl | None = None
    ted: Brl | None = None


async def set_fees(
    db: Database, *, integrator_key: UUID, account_key: UUID | None = None, fees: Fees, author: Author
) -> Fees:
    """Replace both fees, with no account the integrator's; what was requested before keeps its fee."""
    async with db.transaction() as connection:
        if account_key is None:
            fees = Fees(fees.pix_transfer or ZERO, fees.ted or ZERO)
            before = await _set_of_integrator(connection, integrator_key, fees)
        else:
            before = await _set_of_account(connection, integrator_key, account_key, fees)
        await record_act(
            connection,
            author,
            "fees.set",
            integrator_key=integrator_key,
            key=account_key or integrator_key,
            at=await read_clock(connection),
            details=changed(_audited(before), _audited(fees)),
        )
    return fees


async def _set_of_integrator(connection: Connection, integrator_key: UUID, fees: Fees) -> Fees:
    stored = await lock_integrator(connection, integrator_key)
    if stored is None:
        raise Refusal("qit.not_found")
    now = await read_clock(connection)
    await update_integrator_fees(
        connection, integrator_key, pix_fee=fees.pix_transfer or ZERO, ted_fee=fees.ted or ZERO, at=now
    )
    return Fees(stored.pix_fee, stored.ted_fee)


async def _set_of_account(connection: Connection, integrator_key: UUID, account_key: UUID, fees: Fees) -> Fees:
    stored = await lock_account(connection, integrator_key, account_key)
    if stored is None:
        raise Refusal("qit.not_found")
    now = await read_clock(connection)
    await update_account_fees(
        connection, integrator_key, account_key, pix_fee=fees.pix_transfer, ted_fee=fees.ted, at=now
    )
    return Fees(stored.pix_fee, stored.ted_fee)


def _audited(fees: Fees) -> dict[str, str | None]:
    return {"pix_transfer": _wire(fees.pix_transfer), "ted": _wire(fees.ted)}


def _wire(fee: Brl | None) -> str | None:
    return None if fee is None else fee.wire()
