"""Where calls on purchases of one API process come together: requests and tokens wait here for their batch."""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from aval.domain.errors import Refusal
from aval.domain.purchase_request import CampaignChanged, PurchaseRequest, refuse_before_asking
from aval.operations.approve_purchase import Answered, PurchaseCall, PurchaseOutcome, approve_purchases
from aval.operations.check_purchase import check_purchase
from aval.operations.coalesce import Coalescer
from aval.operations.confirm_redemption import Kept
from aval.operations.end_purchase import EndCall, Ended, cancel_purchase, confirm_purchase
from aval.operations.expire_purchases import expire_purchase
from aval.operations.in_turn import InTurn, at_once
from aval.operations.request_purchase import (
    PurchaseRules,
    Requested,
    RequestedPurchase,
    replayed_purchase,
    request_purchases,
)
from aval.operations.resend_purchase import resend_purchase
from aval.operations.transfer_desk import DeskSettings, KeyringSource
from aval.ports import ItemValidator, RiskAdapter
from aval.storage.campaigns import find_tenant
from aval.storage.database import Database, LockNotWon
from aval.storage.purchase_requests import is_key_used
from aval.storage.purchases import find_purchase

RULES_READ_MAX = 3  # of a campaign whose rules change with every look


@dataclass(frozen=True, slots=True)
class PurchaseHooks:
    """Who is asked about a purchase before it is made; nobody accepts everything."""

    validator: ItemValidator | None = None
    risk: RiskAdapter | None = None


class RedemptionDesk:
    """Gathers calls on purchases and hands them to the operations."""

    def __init__(
        self,
        db: Database,
        keyring: KeyringSource,
        rules: PurchaseRules,
        settings: DeskSettings,
        hooks: PurchaseHooks | None = None,
    ) -> None:
        self._db = db
        self._keyring = keyring
        self._rules = rules
        self._hooks = hooks or PurchaseHooks()
        # A participant's row is the first lock of each request, so two of one participant never share a batch.
        # Batches are read and judged side by side, but stored in turn: larger ones cost less (docs/adr/0045).
        self._requests: Coalescer[PurchaseRequest, RequestedPurchase] = Coalescer(
            self._run_requests,
            key_of=lambda request: request.participant,
            batch_max=settings.rows_max,
            lanes=settings.lanes,
            is_gathering=True,
        )
        self._in_turn = InTurn()
        self._tokens: Coalescer[PurchaseCall, PurchaseOutcome | Kept] = Coalescer(
            self._run_tokens,
            key_of=lambda call: call.call.operation,
            batch_max=settings.rows_max,
            lanes=max(settings.lanes // 2, 1),
            is_gathering=True,
        )

    @property
    def is_asking(self) -> bool:
        """Whether somebody outside is asked about purchases before PostgreSQL is."""
        return bool(self._hooks.validator or self._hooks.risk)

    async def request(self, request: PurchaseRequest) -> RequestedPurchase:
        """Request a purchase; raises Refusal, PrincipalStale, LockNotWon."""
        if self.is_asking and await self._is_to_be_asked(request):
            hooks = self._hooks
            checked = await check_purchase(request, validator=hooks.validator, risk=hooks.risk)
            request = replace(request, checked=checked)
        made = await self._requested(request)
        return await self._as_now(made) if made.is_over else made

    async def _requested(self, request: PurchaseRequest) -> RequestedPurchase:
        """Judge a request under the rules that are in force once its body is there."""
        for _ in range(RULES_READ_MAX):
            try:
                return await self._requests.submit(request)
            except CampaignChanged:
                request = await self._under_present_rules(request)
        raise LockNotWon

    async def _under_present_rules(self, request: PurchaseRequest) -> PurchaseRequest:
        former = request.caller.tenant
        async with self._db.reading() as connection:
            stored = await find_tenant(connection, former.key)
        assert stored is not None
        present = stored.campaign
        campaign = replace(
            former, policy=present.policy, policy_version=present.policy_version, status=present.status
        )  # with the vendors its items were judged by
        return replace(request, caller=replace(request.caller, campaign=campaign))

    async def approve(self, call: PurchaseCall) -> PurchaseOutcome | Kept:
        """Judge a token; raises Refusal, PrincipalStale, LockNotWon."""
        return await self._tokens.submit(call)

    async def resend(self, call: PurchaseCall) -> PurchaseOutcome | Kept:
        """Issue the next token; raises Refusal, LockNotWon."""
        return await resend_purchase(self._db, call=call, figures=self._rules.figures)

    async def confirm(self, call: EndCall) -> Ended | Kept:
        """Debit an authorized purchase; raises Refusal, LockNotWon."""
        return await confirm_purchase(self._db, call=call)

    async def cancel(self, call: EndCall) -> Ended | Kept:
        """Give back what is reserved; raises Refusal, LockNotWon."""
        return await cancel_purchase(self._db, call=call)

    async def _as_now(self, made: RequestedPurchase) -> RequestedPurchase:
        """A purchase made under the same key before, ended by now, for a deadline is judged at the call."""
        await expire_purchase(self._db, key=made.purchase.id)
        async with self._db.reading() as connection:
            found = await find_purchase(connection, made.purchase.key, made.purchase.tenant_key)
        assert found is not None
        return replayed_purchase(found)

    async def _is_to_be_asked(self, request: PurchaseRequest) -> bool:
        """Not about what is refused anyway, nor about what was decided under the same key."""
        try:
            refuse_before_asking(request)
        except Refusal:
            return False
        if request.refusal is not None:
            return False
        if request.idempotency_key is None:
            return True
        async with self._db.reading() as connection:
            return not await is_key_used(connection, request)

    async def _run_requests(self, requests: Sequence[PurchaseRequest], may_wait: bool) -> Sequence[Requested]:
        return await request_purchases(
            self._db,
            requests=requests,
            keyring=self._keyring.current(),
            rules=self._rules,
            may_wait=may_wait,
            run=at_once if may_wait else self._in_turn.run,  # who waits for a guard keeps nobody from storing
        )

    async def _run_tokens(self, calls: Sequence[PurchaseCall], may_wait: bool) -> Sequence[Answered]:
        return await approve_purchases(
            self._db, calls=calls, keyring=self._keyring.current(), figures=self._rules.figures, may_wait=may_wait
        )
