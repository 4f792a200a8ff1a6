"""Second-factor calls on operations, set-wise: lock, read the clock after the lock, write what was decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace

from aval.domain.approval import ApprovalFacts, Limits
from aval.domain.challenge import Challenge
from aval.domain.decision_mac import decision_mac
from aval.domain.keyring import Keyring
from aval.domain.money import Brl
from aval.domain.principal import Principal
from aval.domain.transfer import Kind, Status, Transfer
from aval.storage.database import Connection, Row
from aval.storage.requests import FAMILY_OF_LIMITS
from aval.storage.rows import CHALLENGE_COLUMNS, OPERATION_COLUMNS, challenge_of, columns, transfer_of

OperationId = tuple[UUID, UUID]

_LOCK = f"""
select {OPERATION_COLUMNS}, {CHALLENGE_COLUMNS}
  from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, operation_id)
  join challenges c on c.integrator_id = r.integrator_id and c.operation_id = r.operation_id
  join operations o on o.integrator_id = r.integrator_id and o.operation_id = r.operation_id and o.batch_id is null
 order by c.integrator_id, c.operation_id
   for no key update of c
"""
_LOCK_FREE = _LOCK.rstrip() + " skip locked"
_LOCK_ONE = f"""
select {OPERATION_COLUMNS}, {CHALLENGE_COLUMNS}
  from challenges c join operations o on o.integrator_id = c.integrator_id and o.operation_id = c.operation_id
 where c.integrator_id = $1 and c.operation_id = $2 and o.batch_id is null
   for no key update of c
"""
_LOCK_ONE_FREE = _LOCK_ONE.rstrip() + " skip locked"


async def lock_operations(
    connection: Connection, keys: Sequence[OperationId], *, may_wait: bool
) -> dict[OperationId, tuple[Transfer, Challenge]]:
    """Lock challenges in key order and read them with their operation; an item of a batch is none.

    Without `may_wait` one that is locked elsewhere is left out, like one that does not exist; with it the call waits
    up to lock_timeout (LockNotWon). Read the clock afterwards, in a statement of its own (promises.md D3).
    """
    if len(keys) == 1:
        rows = await connection.fetch(_LOCK_ONE if may_wait else _LOCK_ONE_FREE, *keys[0])
    else:
        rows = await connection.fetch(_LOCK if may_wait else _LOCK_FREE, *columns(keys))
    return {(row["integrator_id"], row["operation_id"]): (transfer_of(row), challenge_of(row)) for row in rows}


class Question(msgspec.Struct, frozen=True):
    """What a second-factor call names: the caller, the account in its path, the operation, and its key if any."""

    principal: Principal
    account_key: UUID
    operation_key: UUID
    path: str = ""
    idempotency_key: str | None = None


class CallFacts(msgspec.Struct, frozen=True):
    """What PostgreSQL knows about one call once its operation is locked; `now` was read after the lock."""

    now: datetime
    is_authentic: bool
    is_current: bool
    is_account_known: bool
    remembered: "Remembered | None"


class Remembered(msgspec.Struct, frozen=True):
    """What was answered before under the same Idempotency-Key; no status while a synchronous call still waits."""

    fingerprint: bytes
    status: int | None
    body: bytes | None


_READ_FACTS = """
select clock_timestamp() as now,
       cr.credential_id is not null and cr.revoked_at is null and i.active as is_authentic,
       i.version = r.version as is_current, a.account_id is not null as is_account_known,
       ik.fingerprint, ik.status, ik.body
  from unnest($1::uuid[], $2::uuid[], $3::int[], $4::uuid[], $5::text[], $6::text[])
       with ordinality as r (integrator_id, credential_id, version, account_id, path, idempotency_key, place)
  join integrators i on i.integrator_id = r.integrator_id
  left join credentials cr on cr.integrator_id = r.integrator_id and cr.credential_id = r.credential_id
  left join accounts a on a.integrator_id = r.integrator_id and a.account_id = r.account_id
  left join idempotency_keys ik on ik.integrator_id = r.integrator_id and ik.path = r.path
       and ik.idempotency_key = r.idempotency_key and ik.created_at > clock_timestamp() - interval '24 hours'
 order by r.place
"""


async def read_call_facts(connection: Connection, questions: Sequence[Question]) -> list[CallFacts]:
    """The clock and what is known about each call, in their order; run after the locks are held."""
    rows = await connection.fetch(_READ_FACTS, *columns(map(_columns_of, questions)))
    return [
        CallFacts(
            now=row["now"],
            is_authentic=row["is_authentic"],
            is_current=row["is_current"],
            is_account_known=row["is_account_known"],
            remembered=None
            if row["fingerprint"] is None
            else Remembered(row["fingerprint"], row["status"], row["body"]),
        )
        for row in rows
    ]


def _columns_of(question: Question) -> tuple[Any, ...]:
    principal = question.principal
    return (
        principal.integrator.key,
        principal.credential_key,
        principal.integrator.version,
        question.account_key,
        question.path,
        question.idempotency_key,
    )


@dataclass(slots=True)
class LockedAccount:
    """An account whose row is locked; `balance` is what is left for the calls of this batch."""

    balance: Brl


# Rows come in the order of the keys, whatever the order of the calls, so that two batches never lock crosswise.
_LOCK_ACCOUNTS = """
select r.place, a.integrator_id, a.account_id, a.balance_centavos, a.status as account_status, a.limits,
       ap.active as is_approver_active, aa.powers, aa.max_amount_centavos, i.ted_hours
  from unnest($1::uuid[], $2::uuid[], $3::uuid[])
       with ordinality as r (integrator_id, account_id, approver_id, place)
  join accounts a on a.integrator_id = r.integrator_id and a.account_id = r.account_id
  join integrators i on i.integrator_id = r.integrator_id
  join approvers ap on ap.integrator_id = r.integrator_id and ap.approver_id = r.approver_id
  left join account_approvers aa on aa.integrator_id = r.integrator_id and aa.account_id = r.account_id
       and aa.approver_id = r.approver_id
 order by a.integrator_id, a.account_id
   for no key update of a
"""


async def lock_accounts(
    connection: Connection, transfers: Sequence[Transfer], *, holidays: frozenset[date]
) -> tuple[list[ApprovalFacts], Mapping[tuple[UUID, UUID], LockedAccount]]:
    """Lock the accounts of right tokens in key order, and read what step 12 of §4.1 looks at, by transfer.

    A hot account is locked once for all its calls. The balance is the locked row's, so it is fresh after a wait.
    """
    rows = await connection.fetch(
        _LOCK_ACCOUNTS, *columns((t.integrator_key, t.account_key, t.approver_key) for t in transfers)
    )
    in_order = sorted(rows, key=lambda row: row["place"])
    facts = [
        _approval_of(row, FAMILY_OF_LIMITS[transfer.kind], holidays)
        for transfer, row in zip(transfers, in_order, strict=True)
    ]
    accounts = {(row["integrator_id"], row["account_id"]): LockedAccount(Brl(row["balance_centavos"])) for row in rows}
    return facts, accounts


def _approval_of(row: Row, family: str, holidays: frozenset[date]) -> ApprovalFacts:
    most = row["max_amount_centavos"]
    return ApprovalFacts(
        account_status=row["account_status"],
        is_approver_active=row["is_approver_active"],
        powers=frozenset(row["powers"] or ()),
        max_amount=None if most is None else Brl(most),
        limits=Limits.of((row["limits"] or {}).get(family)),
        holidays=holidays,
        has_ted_hours=row["ted_hours"],
    )


class Decision(msgspec.Struct, frozen=True):
    """What a token call changes: the comparison that was made, and the status it led to."""

    transfer: Transfer
    before: Challenge
    status: Status
    attempts_used: int
    rejection_reason: str | None
    refusal: dict[str, Any] | None
    comparison: str | None  # right, wrong, superseded
    at: datetime
    is_budgeted: bool
    audit_key: UUID | None  # None: whoever moves what was approved writes `audit_details` in a row of its own
    actor: str
    correlation_id: str
    signed: str | None = None  # the digest of a device's signature
    mac: str | None = None

    @property
    def audit_details(self) -> dict[str, Any]:
        """What its audit row says beside actor and time; an approval has a keyed digest of it."""
        optional = {"signed": self.signed, "mac": self.mac}
        return {
            "comparison": self.comparison,
            "generation": self.before.generation,
            "method": self.before.method.value,
            "status": self.status.value,
            "rejection_reason": self.rejection_reason,
            "details_digest": self.transfer.details_digest.hex(),
        } | {name: value for name, value in optional.items() if value is not None}

    def keyed(self, keyring: Keyring) -> "Decision":
        """The decision with its keyed digest."""
        return replace(self, mac=decision_mac(keyring, self.transfer, self.audit_details, self.actor, self.at))

    @property
    def is_approved(self) -> bool:
        """Whether the approver approved it now, so that money moves (for a device: none)."""
        return self.status is not self.before.status and self.status in (Status.PENDING, Status.APPROVED)

    @property
    def is_told(self) -> bool:
        """Whether this is the state a webhook tells; of a device also that it is active. Redemptions tell their own."""
        if self.transfer.kind.is_redemption:
            return False
        is_activation = self.transfer.kind is Kind.DEVICE and self.is_approved
        return self.status in (Status.REJECTED, Status.CANCELLED) or is_activation

    @property
    def after(self) -> Challenge:
        """The challenge as it is once this is written."""
        return replace(
            self.before,
            status=self.status,
            attempts_used=self.attempts_used,
            rejection_reason=self.rejection_reason,
            refusal=self.refusal,
            event_sequence=self.before.event_sequence + self.is_told,
            updated_at=self.at,
        )


_MOVED = """
with input as (
    select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::text[], $6::smallint[], $7::smallint[],
                         $8::text[], $9::text[], $10::uuid[], $11::boolean[], $12::timestamptz[], $13::boolean[],
                         $14::uuid[], $15::bigint[], $16::bigint[], $17::uuid[], $18::text[], $19::text[], $20::jsonb[],
                         $21::jsonb[], $22::boolean[], $23::boolean[])
           as r (integrator_id, operation_id, status, attempts_used, rejection_reason, former_attempts, generation,
                 comparison, alphabet, approver_id, is_budgeted, at, is_approved, account_id, amount_centavos,
                 fee_centavos, audit_id, actor, correlation_id, audit_details, refusal, is_told, is_redemption)
), moved as (
    update challenges c
       set status = r.status, attempts_used = r.attempts_used, rejection_reason = r.rejection_reason,
           refusal = r.refusal, consumed_at = case when r.is_approved then r.at end, updated_at = r.at,
           event_sequence = c.event_sequence + r.is_told::int
      from input r
     where c.integrator_id = r.integrator_id and c.operation_id = r.operation_id
       and c.status = 'pending_2fa_approval' and c.generation = r.generation and c.attempts_used = r.former_attempts
    returning 1
), audited as (
    insert into audit (integrator_id, audit_id, at, actor, action, operation_id, details, correlation_id)
    select integrator_id, audit_id, at, actor,
           case when is_redemption then 'redemption.judged' else 'operation.judged' end, operation_id, audit_details,
           correlation_id
      from input where audit_id is not null
)"""
_WRITE_ENDINGS = _MOVED + " select (select count(*) from moved) as moved, 0 as debited"
_WRITE = (
    _MOVED
    + """, compared as (
    insert into comparisons (integrator_id, operation_id, comparison_no, generation, verdict, alphabet, approver_id,
                             is_budgeted, judged_at)
    select integrator_id, operation_id, former_attempts + 1, generation, comparison, alphabet, approver_id, is_budgeted,
           at
      from input where comparison is not null
    returning 1
), debited as (
    update accounts a set balance_centavos = a.balance_centavos - s.total, updated_at = s.at
      from (select integrator_id, account_id, sum(amount_centavos + fee_centavos) as total, max(at) as at
              from input where is_approved group by integrator_id, account_id) s
     where a.integrator_id = s.integrator_id and a.account_id = s.account_id and a.balance_centavos >= s.total
    returning 1
), entered as (
    insert into ledger_entries (integrator_id, source_id, entry_type, account_id, direction, contra_account,
                                amount_centavos, created_at)
    select integrator_id, operation_id, 'transfer', account_id, 'debit', 'settlement', amount_centavos, at
      from input where is_approved and amount_centavos > 0
    union all
    select integrator_id, operation_id, 'fee', account_id, 'debit', 'fees', fee_centavos, at
      from input where is_approved and fee_centavos > 0
    returning 1
), promised as (
    insert into settlement_jobs (integrator_id, operation_id, rail_reference, due_at, created_at, updated_at)
    select integrator_id, operation_id, operation_id, at, at, at from input where is_approved and status = 'pending'
    returning 1
)
select (select count(*) from moved) as moved, (select count(*) from debited) as debited
"""
)


async def write_decisions(connection: Connection, decisions: Sequence[Decision]) -> None:
    """Write everything the calls of a batch decided, in one statement under their locks.

    Comparison, status, debit, ledger, settlement job and audit stand or fall together; the jobs of an approved batch
    are its items' (storage/batches.py). A row that is not as it was
    locked is a bug of ours: the transaction is abandoned.
    """
    is_ending = all(d.comparison is None and not d.is_approved for d in decisions)  # needs fewer rights (D15)
    row = await connection.fetchrow(
        _WRITE_ENDINGS if is_ending else _WRITE, *columns(map(_decision_columns, decisions))
    )
    paying = [d.transfer for d in decisions if d.is_approved and not d.transfer.kind.is_redemption]
    accounts = {(transfer.integrator_key, transfer.account_key) for transfer in paying}
    assert row is not None and (row["moved"], row["debited"]) == (len(decisions), len(accounts))


def _decision_columns(decision: Decision) -> tuple[Any, ...]:
    transfer, before = decision.transfer, decision.before
    return (
        transfer.integrator_key,
        transfer.key,
        decision.status.value,
        decision.attempts_used,
        decision.rejection_reason,
        before.attempts_used,
        before.generation,
        decision.comparison,
        before.alphabet.value,
        transfer.approver_key,
        decision.is_budgeted,
        decision.at,
        decision.is_approved,
        transfer.account_key,
        transfer.amount.centavos,
        transfer.fee.centavos,
        decision.audit_key,
        decision.actor,
        decision.correlation_id,
        decision.audit_details,
        decision.refusal,
        decision.is_told,
        transfer.kind.is_redemption,
    )
