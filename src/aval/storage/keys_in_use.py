"""Which keys the rows still name, so that no other is dropped."""

from aval.domain.keyring import Purpose
from aval.storage.database import Connection

SEALED = (
    ("approvers", "document_sealed"),
    ("contacts", "destination_sealed"),
    ("integrators", "rail_secret_sealed"),
    ("participants", "profile_sealed"),
    ("webhook_endpoints", "headers_sealed"),
    ("webhook_endpoints", "secret_sealed"),
    ("webhook_endpoints", "former_secret_sealed"),
)


async def kids_in_use(connection: Connection) -> set[tuple[Purpose, str]]:
    """Purpose and kid of every key that a pending challenge or a sealed value needs; reads as the tables' owner."""
    tokens = await connection.fetch("select distinct kid from challenges where status = 'pending_2fa_approval'")
    places = [*(_kids_of(table, column) for table, column in SEALED), *_OF_PURCHASES]
    sealed = await connection.fetch(" union ".join(places), timeout=60)
    files = await connection.fetch(_kids_of("document_files", "key_sealed"), timeout=60)
    return {
        *((Purpose.TOKEN, row["kid"]) for row in tokens),
        *((Purpose.SEAL, row["kid"]) for row in sealed),
        *((Purpose.DOCUMENT, row["kid"]) for row in files),
    }


def _kids_of(table: str, column: str) -> str:
    """A sealed value begins with the length of its kid and the kid (domain/keyring.py)."""
    kid = f"convert_from(substring({column} from 2 for get_byte({column}, 0)), 'UTF8')"
    return f"select distinct {kid} as kid from {table} where length({column}) > 0"  # noqa: S608 - constants only


# What a purchase was told of its customer, of which a kid needs no more than the beginning; and answers about purchases
# that are kept for a day.
_OF_PURCHASES = (
    _kids_of("(select decode(left(recorded ->> 'private', 344), 'base64') as seal from purchases) p", "seal"),
    _kids_of("(select body from idempotency_keys where path like '/purchases/%') k", "body"),
)
