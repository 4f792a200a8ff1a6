"""Accept requests for purchases: check them in the documented order, store them, reserve points, promise the token.

Many calls share one statement. What a request is judged by is read without a lock and held against what is there when
it is stored (docs/adr/0045), or, where messages are counted, read under the participant's lock (docs/adr/0037).
"""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import replace

from aval.domain.budget import NO_HISTORY, BudgetFigures, BudgetStop, is_digits_budget_spent, operation_stop
from aval.domain.challenge import Challenge
from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring, Purpose
from aval.domain.principal import PrincipalStale
from aval.domain.purchase import Purchase, details_of
from aval.domain.purchase_request import (
    CampaignChanged,
    PurchaseFacts,
    PurchaseRequest,
    is_purchase_twin,
    new_purchase,
    refuse_purchase,
)
from aval.domain.redemption_call import token_stop
from aval.domain.redemption_challenge import first_redemption_challenge
from aval.domain.redemption_view import DELIVERIES, QUEUED
from aval.domain.token import Alphabet
from aval.domain.transfer import canonical
from aval.operations.change_purchases import body_of, told_of
from aval.operations.coalesce import ALONE, Postponed
from aval.operations.fresh import fresh_keys, fresh_nonces, new_authorization_codes
from aval.operations.in_turn import Runner, at_once
from aval.storage.comparisons import read_guess_histories
from aval.storage.database import Connection, Database, LockNotWon
from aval.storage.message_counts import read_message_histories
from aval.storage.purchase_inserts import PurchaseDraft, PurchaseRows, insert_purchases, rows_of
from aval.storage.purchase_requests import (
    ParticipantId,
    guard_redeemers,
    lock_numbers_in_use,
    read_purchase_facts,
)
from aval.storage.purchases import ReadPurchase, find_purchase
from aval.storage.redemption_calls import NumberState, read_numbers

KEYS_EACH = 2  # of its event, and of its message or, without a second factor, a second line of the ledger
TRIES_MAX = 3  # a request that meets its twin while storing is judged again, and then finds it


@dataclass(frozen=True, slots=True)
class PurchaseRules:
    """What the deployment sets for every purchase: budgets, and whom it sells nothing (indexes of number and CPF)."""

    figures: BudgetFigures = BudgetFigures()
    blocked: frozenset[bytes] = frozenset()


class RequestedPurchase(msgspec.Struct, frozen=True):
    """A purchase as it is now: a new one, or the one an earlier same request made."""

    purchase: Purchase
    challenge: Challenge | None
    delivery: str = QUEUED
    is_replay: bool = False
    is_over: bool = False  # its time is over, which is to be written before it is told
    data: Mapping[str, Any] | None = None  # what its event told


Requested = RequestedPurchase | Exception | Postponed
_Judged = PurchaseDraft | UUID | Exception | Postponed  # to be stored, the key of a twin, why it is refused, or not yet


class _Chance(NamedTuple):
    """What a new purchase takes of chance, drawn for a whole batch at once."""

    keys: Sequence[UUID]
    code: str
    nonce: bytes


def _chances(count: int) -> Iterator[_Chance]:
    keys = iter(fresh_keys(KEYS_EACH * count))
    each = zip(*[keys] * KEYS_EACH, strict=True)
    return map(_Chance, each, new_authorization_codes(count), fresh_nonces(count))


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read for a batch; of budgets and messages only where they are limited."""

    facts: Sequence[PurchaseFacts | PrincipalStale | None]
    held: Collection[ParticipantId] | None = None  # whose guard is taken; None: nobody's, and nobody's was tried
    stops: Mapping[ParticipantId, BudgetStop | None] = field(default_factory=dict)
    is_digits_spent: Mapping[ParticipantId, bool] = field(default_factory=dict)
    numbers: Mapping[ParticipantId, NumberState] = field(default_factory=dict)


async def request_purchases(
    db: Database,
    *,
    requests: Sequence[PurchaseRequest],
    keyring: Keyring,
    rules: PurchaseRules,
    may_wait: bool = True,
    run: Runner = at_once,
) -> list[Requested]:
    """Judge and store requests of different participants set-wise; one result each, after the commit.

    What counts no messages is judged by what is read without a lock, and stored if all of it still holds. `run` decides
    when what writes is begun: while one batch is stored the next may be judged. For each what was made, a Refusal, or
    ALONE if it is to be judged again; with `may_wait` each is judged under its guard, no result is ALONE, and who never
    wins has LockNotWon. Raises LockNotWon.
    """
    kid = keyring.current(Purpose.TOKEN).kid
    if not may_wait and not any(request.has_budgets for request in requests):
        async with db.reading() as connection:
            known = _Known(await read_purchase_facts(connection, requests))
            judged = await _with_twins(connection, requests, _judge(requests, known, kid, rules, may_wait=False))
        return await _stored(judged, lambda rows: run(partial(_inserted, db, rows)))
    under_guard = partial(_requested_under_guard, db, requests, kid, rules, may_wait=may_wait)
    answers: list[Requested] = []
    for _ in range(TRIES_MAX):
        answers = await run(under_guard)
        if not may_wait or ALONE not in answers:
            return answers
    return [LockNotWon() if answer is ALONE else answer for answer in answers]  # a key is taken by nobody known


async def _requested_under_guard(
    db: Database, requests: Sequence[PurchaseRequest], kid: str, rules: PurchaseRules, *, may_wait: bool
) -> list[Requested]:
    async with db.transaction() as connection:
        known = await _known_under_guard(connection, requests, rules.figures, may_wait=may_wait)
        judged = await _with_twins(connection, requests, _judge(requests, known, kid, rules, may_wait=may_wait))
        return await _stored(judged, partial(insert_purchases, connection))


async def _inserted(db: Database, rows: PurchaseRows) -> frozenset[UUID]:
    async with db.connection() as connection:
        return await insert_purchases(connection, rows)


async def _known_under_guard(
    connection: Connection, requests: Sequence[PurchaseRequest], figures: BudgetFigures, *, may_wait: bool
) -> _Known:
    counted = [request.participant for request in requests if request.has_budgets]
    held = await guard_redeemers(
        connection,
        [request.participant for request in requests],
        has_messages=bool(counted),
        may_wait=may_wait,
    )
    counted = [participant for participant in counted if participant in held]
    await lock_numbers_in_use(connection, counted)
    facts = await read_purchase_facts(connection, requests)
    stops, is_digits_spent = await _budgets(connection, requests, counted, facts, figures)
    numbers = await _numbers(connection, requests, counted, facts)
    return _Known(facts, held, stops, is_digits_spent, numbers)


async def _budgets(
    connection: Connection,
    requests: Sequence[PurchaseRequest],
    counted: Sequence[ParticipantId],
    facts: Sequence[PurchaseFacts | PrincipalStale | None],
    figures: BudgetFigures,
) -> tuple[dict[ParticipantId, BudgetStop | None], dict[ParticipantId, bool]]:
    """The budget that forbids each participant another token, and whether theirs of digits is spent."""
    if not counted:
        return {}, {}
    histories = await read_guess_histories(connection, counted)
    _, sent = await read_message_histories(connection, counted, most=figures.approver_messages_24h_max)
    stops: dict[ParticipantId, BudgetStop | None] = {}
    is_digits_spent: dict[ParticipantId, bool] = {}
    for request, known in zip(requests, facts, strict=True):
        participant = request.participant
        history = histories.get(participant, NO_HISTORY)
        if isinstance(known, PurchaseFacts) and participant in sent:
            alphabet = Alphabet(request.caller.tenant.policy.token_alphabet)
            stop = token_stop(history, figures, alphabet, known.now)
            stops[participant] = stop or operation_stop(sent[participant], figures, known.now, has_message=True)
            is_digits_spent[participant] = is_digits_budget_spent(history, figures, known.now)
    return stops, is_digits_spent


async def _numbers(
    connection: Connection,
    requests: Sequence[PurchaseRequest],
    counted: Sequence[ParticipantId],
    facts: Sequence[PurchaseFacts | PrincipalStale | None],
) -> dict[ParticipantId, NumberState]:
    if not counted:
        return {}
    phones = {
        request.participant: (request.participant[0], device.key)
        for request, known in zip(requests, facts, strict=True)
        if request.participant in counted and isinstance(known, PurchaseFacts) and (device := known.device) is not None
    }
    states = await read_numbers(connection, phones.values())
    return {participant: states[phone] for participant, phone in phones.items()}


def _judge(
    requests: Sequence[PurchaseRequest], known: _Known, kid: str, rules: PurchaseRules, *, may_wait: bool
) -> list[_Judged]:
    judged: list[_Judged] = []
    numbers: set[bytes] = set()  # to which a neighbour's message may be promised
    for request, facts, chance in zip(requests, known.facts, _chances(len(requests)), strict=True):
        if isinstance(facts, PrincipalStale):
            judged.append(facts)
        elif known.held is not None and request.participant not in known.held and not may_wait:
            judged.append(ALONE)
        elif facts is None:
            judged.append(Refusal("rdm.participant_not_found"))
        elif request.has_budgets and facts.number_index in numbers:
            judged.append(ALONE)
        else:
            judged.append(_judged(request, _with_limits(request, facts, known, rules), kid, chance))
            if request.has_budgets and facts.number_index is not None:
                numbers.add(facts.number_index)
    return judged


def _with_limits(request: PurchaseRequest, facts: PurchaseFacts, known: _Known, rules: PurchaseRules) -> PurchaseFacts:
    """The facts with what the deployment forbids, and the budgets and messages where they are limited."""
    is_blocked = facts.document_index in rules.blocked or facts.number_index in rules.blocked
    if not (is_blocked or request.has_budgets):
        return facts
    participant = request.participant
    number = known.numbers.get(participant)
    return replace(
        facts,
        is_blocked=is_blocked,
        number_sent=() if number is None else number.sent,
        budget_stop=known.stops.get(participant),
        is_digits_budget_spent=known.is_digits_spent.get(participant, False),
    )


def _judged(
    request: PurchaseRequest, facts: PurchaseFacts, kid: str, chance: _Chance
) -> PurchaseDraft | UUID | Exception:
    """The draft of a purchase, the key of its twin, or why it is refused or is to come again."""
    try:
        if is_purchase_twin(request, facts):
            assert facts.twin_key is not None
            return facts.twin_key
        refuse_purchase(request, facts)
    except (Refusal, CampaignChanged) as refusal:
        return refusal
    return _draft(request, facts, kid, chance)


def _draft(request: PurchaseRequest, facts: PurchaseFacts, kid: str, chance: _Chance) -> PurchaseDraft:
    purchase = new_purchase(request, facts, chance.code)
    told = told_of(purchase, request.correlation_id)
    event_key, last_key = chance.keys
    challenge, details = None, b""
    if purchase.is_pending:
        challenge = _challenge(request, facts, kid)
        details = canonical(details_of(purchase, request.caller.tenant.vendors))
    return PurchaseDraft(
        purchase=purchase,
        revision=facts.revision,
        entry_count=facts.entry_count,
        actor=request.caller.actor,
        audit_details={
            "points": purchase.debited_points,
            "kind": purchase.kind,
            "policy_version": purchase.policy_version,
        },
        event_key=event_key,
        event_body=body_of(told, event_key),
        last_key=last_key,
        told=told.data,
        challenge=challenge,
        details=details,
        nonce=chance.nonce,
    )


def _challenge(request: PurchaseRequest, facts: PurchaseFacts, kid: str) -> Challenge:
    campaign, device = request.caller.tenant, facts.device
    assert device is not None
    return first_redemption_challenge(
        campaign.policy,
        device_key=device.key,
        masked_number=device.masked_number,
        kid=kid,
        now=facts.now,
        is_digits_budget_spent=facts.is_digits_budget_spent,
    )


async def _with_twins(
    connection: Connection, requests: Sequence[PurchaseRequest], judged: Sequence[_Judged]
) -> list[PurchaseDraft | Requested]:
    """Read what an earlier same request made, before anything is stored."""
    return [
        await _twin(connection, request, each) if isinstance(each, UUID) else each
        for request, each in zip(requests, judged, strict=True)
    ]


async def _stored(
    judged: Sequence[PurchaseDraft | Requested], insert: Callable[[PurchaseRows], Awaitable[frozenset[UUID]]]
) -> list[Requested]:
    drafts = [each for each in judged if isinstance(each, PurchaseDraft)]
    made = await insert(rows_of(drafts)) if drafts else frozenset()
    return [_made(each, made) if isinstance(each, PurchaseDraft) else each for each in judged]


def _made(draft: PurchaseDraft, made: Collection[UUID]) -> Requested:
    purchase = draft.purchase
    return RequestedPurchase(purchase, draft.challenge, data=draft.told) if purchase.key in made else ALONE


async def _twin(connection: Connection, request: PurchaseRequest, key: UUID) -> RequestedPurchase:
    found = await find_purchase(connection, key, request.caller.tenant.key)
    assert found is not None
    return replayed_purchase(found)


def replayed_purchase(found: ReadPurchase) -> RequestedPurchase:
    """The purchase an earlier same request made, as it was read now."""
    delivery = DELIVERIES[found.delivery]
    return RequestedPurchase(found.purchase, found.challenge, delivery, is_replay=True, is_over=found.is_over)
