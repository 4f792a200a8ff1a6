"""Accept requests for transfers: check them in the documented order, store them, promise the first token."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import msgspec
from msgspec.structs import replace

from aval.domain.budget import NO_HISTORY, BudgetFigures, is_digits_budget_spent, operation_stop
from aval.domain.challenge import Challenge
from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring, Purpose
from aval.domain.principal import Integrator, PrincipalStale
from aval.domain.request import RequestFacts, TransferRequest, fee_of, first_challenge, is_twin, issue_stop, refuse
from aval.domain.template import chosen_template
from aval.domain.transfer import Method, Transfer, details_digest_of
from aval.operations.coalesce import ALONE, Postponed
from aval.operations.device_choices import open_sessions, sessions_of, with_devices
from aval.operations.fresh import fresh_key
from aval.operations.guard_approvers import Guard, guard_approvers
from aval.storage.comparisons import read_guess_histories
from aval.storage.database import Connection, Database, LockNotWon
from aval.storage.device_sessions import read_used_sessions
from aval.storage.devices import SessionTaken
from aval.storage.message_counts import ApproverId, read_message_histories
from aval.storage.requests import insert_transfers, read_operation, read_request_facts
from aval.storage.sums import read_spent, spent_question

TRIES_MAX = 3  # a request that meets its twin while storing is judged again, and then finds it


class Requested(msgspec.Struct, frozen=True):
    """A transfer that waits for approval, or the one an earlier same request made."""

    transfer: Transfer
    challenge: Challenge
    is_replay: bool = False


Judged = Requested | UUID | Exception | Postponed  # a draft, the key of a twin, why it is refused, or not yet


@dataclass(frozen=True, slots=True)
class Rules:
    """What the deployment sets for every operation: budgets, holidays, channels that are switched off."""

    figures: BudgetFigures = BudgetFigures()
    holidays: frozenset[date] = frozenset()
    closed_channels: frozenset[str] = frozenset()


async def request_transfers(
    db: Database,
    *,
    requests: Sequence[TransferRequest],
    keyring: Keyring,
    rules: Rules,
    may_wait: bool = True,
) -> list[Requested | Exception | Postponed]:
    """Judge and store requests set-wise; for each what was made, a Refusal, or ALONE if it is to be judged again.

    No money is held at creation, so no account is locked; what two requests could both take is unique in the schema.
    An approver whose messages are limited is locked and counted before anything is stored (docs/adr/0023).
    With `may_wait` no result is ALONE; who never wins has LockNotWon. The result is PrincipalStale when the caller's
    cached settings are old.
    """
    answers: list[Requested | Exception | Postponed] = []
    for _ in range(TRIES_MAX):
        async with db.reading() as connection:
            facts = await read_facts(connection, requests, rules)
        kid = keyring.current(Purpose.TOKEN).kid
        judged: list[Judged] = [
            _judged(request, known, kid, rules) for request, known in zip(requests, facts, strict=True)
        ]
        guarded = _guarded(requests, judged)
        has_steps = guarded or sessions_of(requests)
        try:
            async with db.transaction() if has_steps else db.connection() as connection:
                if guarded:
                    guard = await guard_approvers(connection, guarded.values(), rules.figures, may_wait=may_wait)
                    for place, approver in guarded.items():
                        judged[place] = _judged_again(requests[place], facts[place], kid, rules, guard, approver)
                answers = await _stored(connection, judged, requests)
        except SessionTaken:  # by a neighbour of the batch or meanwhile: nothing of it was kept
            answers = [ALONE] * len(requests)
        if not may_wait or ALONE not in answers:
            return answers
    return [LockNotWon() if answer is ALONE else answer for answer in answers]  # a key is taken by nobody known


async def read_facts(connection: Connection, requests: Sequence[TransferRequest], rules: Rules) -> list[RequestFacts]:
    """What is known about each request, sums and budgets included, in their order."""
    sessions = sessions_of(requests)
    used = await read_used_sessions(connection, sessions) if sessions else frozenset()
    facts = await read_request_facts(connection, requests, holidays=rules.holidays)
    questions = {
        place: spent_question(request.principal.integrator.key, request.account_key, request.kind)
        for place, (request, known) in enumerate(zip(requests, facts, strict=True))
        if known.approval.limits.has_sums
    }
    if questions:
        spent = await read_spent(connection, list(questions.values()), facts[0].now)
        for place, question in questions.items():
            facts[place] = replace(facts[place], approval=replace(facts[place].approval, spent=spent[question]))
    facts = await with_devices(connection, requests, facts, used)
    return await _with_budgets(connection, requests, facts, rules.figures)


async def _with_budgets(
    connection: Connection, requests: Sequence[TransferRequest], facts: list[RequestFacts], figures: BudgetFigures
) -> list[RequestFacts]:
    asked = {
        place: (request.principal.integrator.key, known.approver_key)
        for place, (request, known) in enumerate(zip(requests, facts, strict=True))
        if request.principal.integrator.budgets and known.approver_key is not None
    }
    if not asked:
        return facts
    histories = await read_guess_histories(connection, asked.values())
    now = facts[0].now
    _, sent = await read_message_histories(
        connection, asked.values(), most=figures.approver_messages_24h_max, as_of=now
    )
    for place, approver in asked.items():
        request = requests[place]
        has_message = request.method is not Method.DEVICE
        history = histories[approver] if has_message else NO_HISTORY  # spec transfers.md §8.3: guesses are of tokens
        stop = issue_stop(request.principal.integrator, request.kind, history, figures, now)
        facts[place] = replace(
            facts[place],
            budget_stop=stop or operation_stop(sent[approver], figures, now, has_message=has_message),
            is_digits_budget_spent=is_digits_budget_spent(history, figures, now),
        )
    return facts


def _judged(request: TransferRequest, facts: RequestFacts, kid: str, rules: Rules) -> Judged:
    """The draft of a transfer, the key of its twin, or why it is refused."""
    if not facts.is_authentic or not facts.is_current:
        return PrincipalStale()
    if facts.account_status is None:
        return Refusal(f"{request.kind.family}.account_not_found", account_key=request.account_key)
    fee = fee_of(request.principal.integrator, request.kind, facts.fee)
    try:
        if is_twin(request, facts):
            assert facts.twin_key is not None
            return facts.twin_key
        refuse(request, facts, fee, is_channel_off=is_off(rules, request.principal.integrator, request.method))
    except Refusal as refusal:
        return refusal
    assert facts.approver_key is not None and request.payee is not None
    transfer = Transfer(
        integrator_key=request.principal.integrator.key,
        key=request.key,
        kind=request.kind,
        account_key=request.account_key,
        approver_key=facts.approver_key,
        credential_key=request.principal.credential_key,
        request_control_key=request.request_control_key,
        request_fingerprint=request.fingerprint,
        end_to_end_id=request.end_to_end_id,
        amount=request.amount,
        fee=fee,
        payee=request.payee,
        pix_transfer_type=request.pix_transfer_type,
        pix_message=request.pix_message,
        receiver_conciliation_id=request.receiver_conciliation_id,
        nonce=request.nonce,
        correlation_id=request.correlation_id,
        created_at=facts.now,
    )
    transfer = replace(transfer, details_digest=details_digest_of(transfer))
    return Requested(transfer, first_challenge(request, facts, kid))


def _guarded(requests: Sequence[TransferRequest], judged: Sequence[Judged]) -> dict[int, ApproverId]:
    """The approvers of drafts that are limited, by place."""
    return {
        place: (draft.transfer.integrator_key, draft.transfer.approver_key)
        for place, (request, draft) in enumerate(zip(requests, judged, strict=True))
        if isinstance(draft, Requested) and request.principal.integrator.budgets
    }


def _judged_again(
    request: TransferRequest, facts: RequestFacts, kid: str, rules: Rules, guard: Guard | None, approver: ApproverId
) -> Judged:
    """The draft by the clock and the counts under the guard's lock; what a neighbour of the batch stands in the way of
    is judged alone, as the neighbour may turn out to be a repeat that stores nothing.
    """
    if guard is None or not guard.holds(approver):
        return ALONE
    result = _judged(request, guard.renewed(facts, approver, request.method), kid, rules)
    if isinstance(result, Requested):
        guard.add(approver, request.method)
        return result
    return ALONE if guard.was_added_to(approver) else result


def is_off(rules: Rules, integrator: Integrator, method: Method) -> bool:
    """Whether the deployment switched this channel off; the sandbox inbox always works."""
    return method.value in rules.closed_channels and not integrator.is_sandbox


async def _stored(
    connection: Connection, judged: Sequence[Judged], requests: Sequence[TransferRequest]
) -> list[Requested | Exception | Postponed]:
    drafts = [
        (draft.transfer, draft.challenge, fresh_key(), _template_of(request))
        for request, draft in zip(requests, judged, strict=True)
        if isinstance(draft, Requested)
    ]
    made = await insert_transfers(connection, drafts) if drafts else frozenset()
    stored = [
        (request, draft.transfer)
        for request, draft in zip(requests, judged, strict=True)
        if isinstance(draft, Requested) and draft.transfer.key in made
    ]
    await open_sessions(connection, stored)
    answers: list[Requested | Exception | Postponed] = []
    for request, result in zip(requests, judged, strict=True):
        if isinstance(result, UUID):
            answers.append(await _twin(connection, request, result))
        elif isinstance(result, Requested) and result.transfer.key not in made:
            answers.append(ALONE)
        else:
            answers.append(result)
    return answers


def _template_of(request: TransferRequest) -> UUID | None:
    return chosen_template(request.principal.integrator, request.kind, request.method.value)


async def _twin(connection: Connection, request: TransferRequest, key: UUID) -> Requested:
    found = await read_operation(connection, request.principal.integrator.key, key)
    assert found is not None
    return Requested(*found, is_replay=True)
