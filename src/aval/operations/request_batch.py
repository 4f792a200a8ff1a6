"""Accept a request for a batch: judge it as one request, store it with all its items or not at all."""

import asyncio
from typing import NamedTuple
from uuid import UUID

from msgspec.structs import replace

from aval.domain.batch import (
    BatchRequest,
    asked_of,
    batch_of,
    item_details_of,
    item_of,
    items_digest_of,
    items_refusal,
)
from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring, Purpose
from aval.domain.money import Brl
from aval.domain.principal import PrincipalStale
from aval.domain.request import RequestFacts, TransferRequest, fee_of, first_challenge, is_twin, refuse
from aval.domain.template import chosen_template
from aval.domain.transfer import Transfer
from aval.operations.device_choices import open_sessions
from aval.operations.fresh import fresh_key
from aval.operations.request_transfer import TRIES_MAX, Requested, Rules, is_off, read_facts
from aval.storage.batches import UsedIdentities, insert_batch, read_used_identities
from aval.storage.database import Connection, Database, Deadlock, LockNotWon
from aval.storage.devices import SessionTaken
from aval.storage.message_counts import lock_approvers
from aval.storage.requests import read_operation

SLICE_MAX = 50  # items that are made before other calls get their turn


class _Known(NamedTuple):
    """What is known of a batch: of it as one request, and of what its items ask for."""

    asked: TransferRequest
    facts: RequestFacts
    used: UsedIdentities


class _Collided(Exception):
    """Another request took a key of this one between judging and storing; nothing of this one was stored."""


async def request_batch(db: Database, *, request: BatchRequest, keyring: Keyring, rules: Rules) -> Requested:
    """Judge and store a batch with its items, challenge and first message in one transaction, or nothing of it.

    What another request took meanwhile is met by judging again. Raises Refusal, PrincipalStale, LockNotWon.
    """
    kid = keyring.current(Purpose.TOKEN).kid
    for _ in range(TRIES_MAX):
        try:
            return await _requested(db, request, kid, rules)
        except (
            _Collided,
            SessionTaken,
            Deadlock,
        ):
            continue
    raise LockNotWon


async def _requested(db: Database, request: BatchRequest, kid: str, rules: Rules) -> Requested:
    async with db.reading() as connection:
        known = await _read(connection, request, rules)
        twin_key = _judged(request, known, rules)
        if twin_key is not None:
            found = await read_operation(connection, request.principal.integrator.key, twin_key)
            assert found is not None
            return Requested(*found, is_replay=True)
    batch, items = await _made(request, known.facts)
    async with db.transaction() as connection:
        return await _stored(connection, request, kid, rules, known, batch, items)


async def _read(connection: Connection, request: BatchRequest, rules: Rules) -> _Known:
    # What its items collide with is read first: a twin that commits in between is then seen as the twin it is.
    used = await read_used_identities(connection, request)
    asked = asked_of(request)
    (facts,) = await read_facts(connection, [asked], rules)
    return _Known(asked, facts, used)


def _judged(request: BatchRequest, known: _Known, rules: Rules) -> UUID | None:
    """The key of its twin, or None if it may be stored; raises why it is refused."""
    facts, used = known.facts, known.used
    integrator, family = request.principal.integrator, request.kind.family
    if not facts.is_authentic or not facts.is_current:
        raise PrincipalStale
    if facts.account_status is None:
        raise Refusal(f"{family}.account_not_found", account_key=request.account_key)
    if is_twin(known.asked, facts):
        return facts.twin_key
    faulty = items_refusal(request, used_keys=used.keys, used_end_to_end_ids=used.end_to_end_ids)
    asked = replace(known.asked, refusal=request.refusal or faulty)
    fees = Brl(_fee(request, facts).centavos * len(request.items))
    refuse(asked, facts, fees, is_channel_off=is_off(rules, integrator, request.method))
    return None


def _fee(request: BatchRequest, facts: RequestFacts) -> Brl:
    return fee_of(request.principal.integrator, request.kind, facts.fee)


async def _made(request: BatchRequest, facts: RequestFacts) -> tuple[Transfer, list[Transfer]]:
    """The rows of a batch and its items, made outside of any transaction and a slice at a time."""
    assert facts.approver_key is not None
    approver_key, fee, now = facts.approver_key, _fee(request, facts), facts.now
    items: list[Transfer] = []
    shown: list[dict[str, str | None]] = []
    for start in range(0, len(request.items), SLICE_MAX):
        places = range(start, min(start + SLICE_MAX, len(request.items)))
        made = [item_of(request, place, approver_key=approver_key, fee=fee, created_at=now) for place in places]
        shown += map(item_details_of, made)
        items += made
        await asyncio.sleep(0)
    digest = items_digest_of(shown)
    return batch_of(request, approver_key=approver_key, fee=fee, items_digest=digest, created_at=now), items


async def _stored(
    connection: Connection,
    request: BatchRequest,
    kid: str,
    rules: Rules,
    known: _Known,
    batch: Transfer,
    items: list[Transfer],
) -> Requested:
    integrator = request.principal.integrator
    if integrator.budgets:  # the approver's messages and pending operations are counted under a lock (docs/adr/0023)
        await lock_approvers(connection, [(integrator.key, batch.approver_key)], may_wait=True)
        known = await _read(connection, request, rules)
        if _judged(request, known, rules) is not None:
            raise _Collided
        batch = replace(batch, created_at=known.facts.now)
    challenge = first_challenge(known.asked, known.facts, kid)
    template_key = chosen_template(integrator, request.kind, request.method.value)
    is_stored = await insert_batch(
        connection, batch, challenge, items, message_key=fresh_key(), template_key=template_key
    )
    if not is_stored:
        raise _Collided
    await open_sessions(connection, [(known.asked, batch)])
    return Requested(batch, challenge)
