"""Who a Pix key belongs to, asked of the rail before the transaction; a rail that is silent leaves the key itself."""

import asyncio
from collections.abc import Collection, Mapping
from datetime import timedelta
from uuid import UUID

from aval.domain.keyring import Keyring
from aval.domain.principal import Integrator
from aval.domain.transfer import Payee
from aval.ports import Rail, Rails, RailSilent, RailTarget
from aval.storage.accounts import find_account
from aval.storage.database import Database

ASKED_AT_ONCE_MAX = 64
LOOKUPS_TIMEOUT = timedelta(seconds=5)  # for all keys of a batch; each one alone has 2 s (spec transfers.md §3.1)


async def find_payee(
    db: Database, rails: Rails, keyring: Keyring, *, integrator: Integrator, account_key: UUID, pix_key: str
) -> Payee | None:
    """The payee of a key, None if the rail says nobody owns it."""
    rail = await _rail(db, rails, keyring, integrator, account_key)
    return _unnamed(pix_key) if rail is None else await _owner(rail, pix_key)


async def find_payees(
    db: Database,
    rails: Rails,
    keyring: Keyring,
    *,
    integrator: Integrator,
    account_key: UUID,
    pix_keys: Collection[str],
) -> Mapping[str, Payee | None]:
    """The payee of each key, as `find_payee` says it; a key the rail did not answer for in time is its own payee."""
    found: dict[str, Payee | None] = {key: _unnamed(key) for key in pix_keys}
    rail = await _rail(db, rails, keyring, integrator, account_key) if found else None
    if rail is None:
        return found
    waiting = iter(list(found))

    async def ask_on(rail: Rail) -> None:
        """Ask for one key after another."""
        for key in waiting:
            found[key] = await _owner(rail, key)

    try:
        async with asyncio.timeout(LOOKUPS_TIMEOUT.total_seconds()), asyncio.TaskGroup() as group:
            for _ in range(min(ASKED_AT_ONCE_MAX, len(found))):
                group.create_task(ask_on(rail))
    except TimeoutError:
        pass
    return found


async def _rail(db: Database, rails: Rails, keyring: Keyring, integrator: Integrator, account_key: UUID) -> Rail | None:
    """Whom to ask; one look at the account serves all keys of a call.

    A core of the integrator's own is asked only for an account that exists, so that an unknown one costs no call.
    """
    secret = None
    if integrator.rail_url is not None:
        async with db.connection() as connection:
            if await find_account(connection, integrator.key, account_key) is None:
                return None
        assert integrator.rail_secret_sealed is not None
        place = f"integrators/{integrator.key}/rail_secret"
        secret = keyring.opened(integrator.rail_secret_sealed, associated=place)
    return rails.rail_of(RailTarget(integrator.key, integrator.rail_url, secret))


async def _owner(rail: Rail, pix_key: str) -> Payee | None:
    try:
        found = await rail.find_pix_key(pix_key)
    except RailSilent:
        return _unnamed(pix_key)
    if found is None:
        return None
    account = dict(found.target_account)
    return Payee(
        name=account["owner_name"],
        document=account["owner_document_number"],
        target_account=account,
        target_pix_key=pix_key,
        institution_name=found.financial_institution_name,
    )


def _unnamed(pix_key: str) -> Payee:
    return Payee(name=pix_key, target_pix_key=pix_key)
