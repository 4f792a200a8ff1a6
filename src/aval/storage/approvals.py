"""What the approver's page is told beyond a device session: whose it is, which passkeys fit, and what else waits."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from aval.domain.masks import masked_account
from aval.domain.money import Brl
from aval.domain.transfer import Kind
from aval.storage.database import Connection
from aval.storage.rows import payee_of

PAYMENTS_LOOKED_AT = 10_000  # of one account, the newest, when a payee is called new
WAITING_LISTED_MAX = 50


@dataclass(frozen=True, slots=True)
class PageOwner:
    """What a link leads to: the challenge of a registration, or else an operation to be signed."""

    integrator_key: UUID
    integrator_name: str
    locale: str
    has_budgets: bool
    rp_id: str | None
    origins: tuple[str, ...]
    account_key: UUID
    account_number_masked: str
    approver_key: UUID
    operation_key: UUID | None
    challenge: bytes | None = field(repr=False)
    challenge_expires_at: datetime | None
    is_challenge_open: bool


async def find_page_owner(connection: Connection, session_id: UUID) -> PageOwner | None:
    """Find what the id in a link names; None if it is nobody's, or of an integrator that is not active."""
    row = await connection.fetchrow(
        "select i.integrator_id, i.name, i.locale, i.budgets, i.rp_id, i.origins, a.account_id, a.account_number,"
        " a.account_digit, coalesce(o.approver_id, c.approver_id) as approver_id, s.operation_id, c.challenge,"
        " c.expires_at, coalesce(c.expires_at > clock_timestamp(), false) and d.device_id is null as is_open"
        " from session_ids k join integrators i on i.integrator_id = k.integrator_id and i.active"
        " left join device_challenges c on c.integrator_id = k.integrator_id and c.session_id = k.session_id"
        " left join devices d on d.integrator_id = k.integrator_id and d.session_id = k.session_id"
        " left join device_sessions s on s.integrator_id = k.integrator_id and s.session_id = k.session_id"
        " left join operations o on o.integrator_id = s.integrator_id and o.operation_id = s.operation_id"
        " join accounts a on a.integrator_id = k.integrator_id"
        " and a.account_id = coalesce(o.account_id, c.account_id)"
        " where k.session_id = $1",
        session_id,
    )
    if row is None:
        return None
    return PageOwner(
        integrator_key=row["integrator_id"],
        integrator_name=row["name"],
        locale=row["locale"],
        has_budgets=row["budgets"],
        rp_id=row["rp_id"],
        origins=tuple(row["origins"]),
        account_key=row["account_id"],
        account_number_masked=masked_account(row["account_number"], row["account_digit"]),
        approver_key=row["approver_id"],
        operation_key=row["operation_id"],
        challenge=row["challenge"],
        challenge_expires_at=row["expires_at"],
        is_challenge_open=row["is_open"],
    )


@dataclass(frozen=True, slots=True)
class UsablePasskey:
    """An active passkey of the approver on the account."""

    device_key: UUID
    credential_id: bytes


async def list_passkeys(connection: Connection, owner: PageOwner) -> list[UsablePasskey]:
    """The passkeys that may sign for a page's approver on its account, oldest first."""
    rows = await connection.fetch(
        "select d.device_id, d.credential_id from devices d"
        " join challenges c on c.integrator_id = d.integrator_id and c.operation_id = d.device_id"
        " where d.approver_id = $3 and d.account_id = $2 and d.integrator_id = $1 and d.disabled_at is null"
        " and c.status = 'approved' and d.credential_type = 'webauthn' order by d.created_at, d.device_id",
        owner.integrator_key,
        owner.account_key,
        owner.approver_key,
    )
    return [UsablePasskey(row["device_id"], row["credential_id"]) for row in rows]


_TARGET = "coalesce(o.facts ->> 'target_pix_key', '') || ' ' || coalesce(o.facts ->> 'target_account', '')"
_NEW_PAYEES = f"""
with asked as materialized (
    select o.operation_id, o.request_control_key, o.item_no, {_TARGET} as target from operations o
     where o.integrator_id = $1 and o.operation_id = $3 and o.kind in ('pix_transfer', 'ted')
    union all
    select o.operation_id, o.request_control_key, o.item_no, {_TARGET} from operations o
     where o.batch_id = $3 and o.integrator_id = $1
), earlier as materialized (
    select o.operation_id, {_TARGET} as target from operations o
     where o.account_id = $2 and o.integrator_id = $1 order by o.created_at desc limit $4
), known as (
    select distinct e.target from earlier e
      join challenges c on c.integrator_id = $1 and c.operation_id = e.operation_id and c.status in ('pending', 'sent')
     where e.target in (select target from asked) and e.operation_id not in (select operation_id from asked)
)
select request_control_key from asked where target not in (select target from known) order by item_no
"""


async def list_new_payees(connection: Connection, owner: PageOwner) -> list[UUID]:
    """Which items of an operation (or it itself) go where the account's newest payments never went."""
    rows = await connection.fetch(
        _NEW_PAYEES, owner.integrator_key, owner.account_key, owner.operation_key, PAYMENTS_LOOKED_AT
    )
    return [row["request_control_key"] for row in rows]


@dataclass(frozen=True, slots=True)
class FreshSignature:
    """A signature that counted minutes ago, and whose it is."""

    integrator_key: UUID
    account_key: UUID
    approver_key: UUID
    signature: str = field(repr=False)


async def find_fresh_signature(connection: Connection, session_id: UUID, nonce: str) -> FreshSignature | None:
    """The signature over a nonce of a session, by a device that is active, if it is not older than five minutes."""
    row = await connection.fetchrow(
        "select d.integrator_id, d.account_id, d.approver_id, e.proof ->> 'signature' as signature from session_ids k"
        " join device_decisions e on e.integrator_id = k.integrator_id and e.nonce = $2"
        " and e.session_id = k.session_id and e.decided_at > clock_timestamp() - interval '5 minutes'"
        " join devices d on d.integrator_id = e.integrator_id and d.device_id = e.device_id and d.disabled_at is null"
        " where k.session_id = $1",
        session_id,
        nonce,
    )
    if row is None:
        return None
    return FreshSignature(row["integrator_id"], row["account_id"], row["approver_id"], row["signature"])


@dataclass(frozen=True, slots=True)
class WaitingOperation:
    """One more operation that waits for a device of the same approver on the same account."""

    session_id: UUID
    kind: Kind
    amount: Brl
    payee_name: str | None = field(repr=False)
    item_count: int
    approval_deadline: datetime


async def list_waiting(connection: Connection, signed: FreshSignature) -> list[WaitingOperation]:
    """What else a device of the signer may sign now, the soonest to end first; windows last a day at most."""
    rows = await connection.fetch(
        "select s.session_id, o.kind, o.amount_centavos, o.facts, c.approval_deadline from operations o"
        " join challenges c on c.integrator_id = o.integrator_id and c.operation_id = o.operation_id"
        " join device_sessions s on s.integrator_id = o.integrator_id and s.operation_id = o.operation_id"
        " where o.account_id = $2 and o.created_at > now() - interval '1 day' and o.integrator_id = $1"
        " and o.approver_id = $3 and s.status = 'pending' and c.status = 'pending_2fa_approval'"
        " and c.approval_deadline > clock_timestamp() order by c.approval_deadline, s.session_id limit $4",
        signed.integrator_key,
        signed.account_key,
        signed.approver_key,
        WAITING_LISTED_MAX,
    )
    return [
        WaitingOperation(
            session_id=row["session_id"],
            kind=(kind := Kind(row["kind"])),
            amount=Brl(row["amount_centavos"]),
            payee_name=None if kind.is_batch else payee_of(row["facts"]).name,
            item_count=row["facts"].get("item_count", 1),
            approval_deadline=row["approval_deadline"],
        )
        for row in rows
    ]
