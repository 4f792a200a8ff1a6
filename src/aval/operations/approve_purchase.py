"""validate_token of purchases: judge the token, and debit, authorize or reject – one commit for many calls."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from aval.domain.budget import BudgetFigures
from aval.domain.challenge import Challenge, Verdict
from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.domain.purchase import Purchase, PurchaseStatus, approved_status
from aval.domain.redemption_call import RedemptionCall
from aval.operations.change_purchases import PurchaseChange, ToldPurchase, change_purchases
from aval.operations.coalesce import Postponed
from aval.operations.confirm_redemption import KEPT_VERDICTS, Judged, JudgedCall, Kept, judge_locked, keep_judged
from aval.storage.challenges import write_decisions
from aval.storage.database import Connection, Database
from aval.storage.purchases import PurchaseId, find_owners, lock_challenged, read_authorization_ttls

# These tell the purchase; a wrong or dead token is answered without it.
_TELLING = frozenset({Verdict.APPROVED, Verdict.EXHAUSTED, Verdict.ATTEMPTS_EXCEEDED, Verdict.WINDOW_OVER})


class PurchaseOutcome(msgspec.Struct, frozen=True):
    """What a token call on a purchase came to; the purchase where the answer tells it."""

    verdict: Verdict
    challenge: Challenge
    purchase: Purchase | None = None
    data: Mapping[str, Any] | None = None  # what its event told, if it was moved


class PurchaseCall(msgspec.Struct, frozen=True):
    """A token call on a purchase; `render` makes the answer, also the one that is kept."""

    call: RedemptionCall
    render: Callable[[PurchaseOutcome], Kept]

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints


Answered = PurchaseOutcome | Kept | Exception | Postponed


async def approve_purchases(
    db: Database,
    *,
    calls: Sequence[PurchaseCall],
    keyring: Keyring,
    figures: BudgetFigures,
    may_wait: bool = True,
) -> list[Answered]:
    """Judge calls on different purchases in one transaction; one result each, after the commit.

    A wrong token is a result, so its count is committed. Without `may_wait` a purchase that is locked elsewhere (or
    does not exist) answers ALONE; with it the call waits for the lock and raises LockNotWon after lock_timeout.
    """
    asked = [each.call for each in calls]
    async with db.transaction() as connection:
        locked, found = await lock_challenged(connection, [call.operation for call in asked], may_wait=may_wait)
        judged = await judge_locked(connection, asked, locked, keyring=keyring, figures=figures, may_wait=may_wait)
        told = [each for each in judged if isinstance(each, Judged) and each.verdict in _TELLING]
        purchases = {each.call.operation: found[each.call.operation] for each in told}
        await _count_guesses(connection, judged)
        moved = await move_judged(connection, told, purchases)
        answers = [_answer(each, purchases, moved) for each in judged]
        await _keep(connection, calls, judged, answers)
        return await _with_unchallenged(connection, asked, answers) if may_wait else answers


async def _count_guesses(connection: Connection, judged: Sequence[JudgedCall]) -> None:
    """Write the decisions that end nothing: wrong tokens that are not the last."""
    counted = [each.decision for each in judged if isinstance(each, Judged) and not each.is_moved and each.decision]
    if counted:
        await write_decisions(connection, counted)


async def move_judged(
    connection: Connection, told: Sequence[Judged], purchases: Mapping[PurchaseId, Purchase]
) -> dict[PurchaseId, ToldPurchase]:
    """Move the purchases whose challenges ended just now; answers those as they are then."""
    moved = [each for each in told if each.is_moved]
    ttls = await _authorization_ttls(connection, moved, purchases)
    changes = [_change_of(each, purchases[each.call.operation], ttls) for each in moved]
    return {told.purchase.id: told for told in await change_purchases(connection, changes)}


def _change_of(judged: Judged, purchase: Purchase, ttls: Mapping[tuple[UUID, int], timedelta | None]) -> PurchaseChange:
    is_approved = judged.verdict is Verdict.APPROVED
    reason = judged.after.rejection_reason
    return PurchaseChange(
        before=purchase,
        to=approved_status(purchase.kind) if is_approved else PurchaseStatus.REJECTED,
        at=judged.now,
        actor=judged.call.caller.actor,
        correlation_id=judged.call.correlation_id,
        reason=None if reason is None else str(reason),
        authorization_ttl=ttls.get((purchase.tenant_key, purchase.policy_version)) if is_approved else None,
        audit_details=judged.audit_details,
        decision=judged.decision,
    )


async def _authorization_ttls(
    connection: Connection, moved: Sequence[Judged], purchases: Mapping[PurchaseId, Purchase]
) -> Mapping[tuple[UUID, int], timedelta | None]:
    """How long authorizations last by the policies of these purchases; the caller's own is at hand."""
    known: dict[tuple[UUID, int], timedelta | None] = {}
    missing = set()
    for each in moved:
        purchase, campaign = purchases[each.call.operation], each.call.caller.tenant
        if purchase.kind == "external" and each.verdict is Verdict.APPROVED:
            version = (purchase.tenant_key, purchase.policy_version)
            if purchase.policy_version == campaign.policy_version:
                known[version] = campaign.policy.authorization_ttl
            else:
                missing.add(version)
    return known | await read_authorization_ttls(connection, missing) if missing else known


def _answer(
    judged: JudgedCall, purchases: Mapping[PurchaseId, Purchase], moved: Mapping[PurchaseId, ToldPurchase]
) -> Answered:
    return outcome_of(judged, purchases, moved) if isinstance(judged, Judged) else judged


def outcome_of(
    judged: Judged, purchases: Mapping[PurchaseId, Purchase], moved: Mapping[PurchaseId, ToldPurchase]
) -> PurchaseOutcome:
    """What a judged call came to, with the purchase as it is now."""
    told = moved.get(judged.call.operation)
    if told is None:
        return PurchaseOutcome(judged.verdict, judged.after, purchases.get(judged.call.operation))
    return PurchaseOutcome(judged.verdict, judged.after, told.purchase, told.data)


async def _keep(
    connection: Connection, calls: Sequence[PurchaseCall], judged: Sequence[JudgedCall], answers: list[Answered]
) -> None:
    """Keep what has a key; its answer then is what was kept, rendered once."""
    kept = []
    for place, (each, found) in enumerate(zip(calls, judged, strict=True)):
        outcome = answers[place]
        if each.call.idempotency_key is None or not isinstance(found, Judged):
            continue
        if isinstance(outcome, PurchaseOutcome) and found.verdict in KEPT_VERDICTS:
            rendered = each.render(outcome)
            kept.append((each.call, found.now, rendered))
            answers[place] = rendered
    await keep_judged(connection, kept)


async def _with_unchallenged(
    connection: Connection, calls: Sequence[RedemptionCall], answers: list[Answered]
) -> list[Answered]:
    """A purchase without a second factor has no challenge: it is no unknown one, but waits for no token."""
    unknown = [place for place, answer in enumerate(answers) if is_unknown(calls[place], answer)]
    if not unknown:
        return answers
    owners = await find_owners(connection, [calls[place].operation for place in unknown])
    for place in unknown:
        answers[place] = unchallenged(calls[place], owners)
    return answers


def is_unknown(call: RedemptionCall, answer: object) -> bool:
    """Whether no operation was found for a call."""
    return isinstance(answer, Refusal) and answer.name == call.unknown


def unchallenged(call: RedemptionCall, owners: Mapping[PurchaseId, UUID]) -> Refusal:
    """The refusal of a call for which no challenge was found, by whose the purchase is."""
    owner = owners.get(call.operation)
    is_visible = owner is not None and call.participant_key in (None, owner)
    return Refusal("rdm.not_pending") if is_visible else call.unknown_refusal()
