"""Who a Pix key belongs to, asked of the rail before the transaction; a rail that is silent leaves the key itself."""

from uuid import UUID

from aval.domain.keyring import Keyring
from aval.domain.principal import Integrator
from aval.domain.transfer import Payee
from aval.ports import Rails, RailSilent, RailTarget
from aval.storage.accounts import find_account
from aval.storage.database import Database


async def find_payee(
    db: Database, rails: Rails, keyring: Keyring, *, integrator: Integrator, account_key: UUID, pix_key: str
) -> Payee | None:
    """The payee of a key, None if the rail says nobody owns it.

    A core of the integrator's own is asked only for an account that exists, so that an unknown one costs no call.
    """
    unnamed = Payee(name=pix_key, target_pix_key=pix_key)
    secret = None
    if integrator.rail_url is not None:
        async with db.connection() as connection:
            if await find_account(connection, integrator.key, account_key) is None:
                return unnamed
        assert integrator.rail_secret_sealed is not None
        place = f"integrators/{integrator.key}/rail_secret"
        secret = keyring.opened(integrator.rail_secret_sealed, associated=place)
    rail = rails.rail_of(RailTarget(integrator.key, integrator.rail_url, secret))
    try:
        found = await rail.find_pix_key(pix_key)
    except RailSilent:
        return unnamed
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
