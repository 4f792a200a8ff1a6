"""A participant who redeems points, as tests of purchases play them."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from aval.domain.campaign import Campaign
from aval.operations.create_application import NewApplication
from tests.factories import Reply
from tests.phones import Owner, token_of
from tests.redemption_stage import Headers, Person, RedemptionStage
from tests.stage import wrong

ENABLED = {"enabled": True, "document_policy": "none"}


def a_purchase(points: int = 8_000, **change: Any) -> dict[str, Any]:
    """A body of `POST /purchases`: one item of one vendor; a member of None is left out."""
    body: dict[str, Any] = {
        "channel_type": "MOBILE",
        "items": [an_item(points)],
    }
    return {name: value for name, value in (body | change).items() if value is not None}


def an_item(points: int = 8_000, vendor: str = "loja-sol", **change: Any) -> dict[str, Any]:
    """One line of a purchase."""
    item = {"name": "Fone de ouvido", "quantity": 1, "price": {"for": points}, "vendor": {"id": vendor}}
    return item | change


@dataclass
class Buyer:
    """A participant with points and, unless told otherwise, an active phone under a second factor."""

    stage: RedemptionStage = field(repr=False)
    campaign: Campaign
    application: NewApplication = field(repr=False)
    person: Person
    device: dict[str, Any] = field(default_factory=dict)

    @classmethod
    async def make(
        cls,
        stage: RedemptionStage,
        *,
        points: int = 20_000,
        campaign: Campaign | None = None,
        application: NewApplication | None = None,
        has_phone: bool = True,
        policy: dict[str, Any] | None = None,
        **change: Any,
    ) -> "Buyer":
        """Of a campaign of their own unless one is given; `change` is of the campaign, `policy` replaces ENABLED."""
        if campaign is None:
            campaign = await stage.campaign(**change)
            wanted = ENABLED if policy is None else policy
            if wanted:
                await stage.policy(campaign, **wanted)
        owner = await Owner.make(stage, campaign, application)
        device = await owner.activate() if has_phone else {}
        made = cls(stage, campaign, owner.application, owner.person, device)
        if points:
            await made.credit(points)
        return made

    @property
    def owner(self) -> Owner:
        """Them as the owner of phones."""
        return Owner(self.stage, self.campaign, self.application, self.person)

    @property
    def headers(self) -> Headers:
        """As the participant."""
        return self.stage.as_participant(self.application, self.campaign, self.person)

    @property
    def impersonated(self) -> Headers:
        """As the application that acts for them."""
        return self.stage.as_impersonator(self.application, self.campaign, self.person)

    @property
    def of_application(self) -> Headers:
        """As the application by itself."""
        return self.stage.as_application(self.application)

    async def credit(self, points: int) -> None:
        """Give them points."""
        reply = await self.stage.call(
            "POST",
            f"/participants/{self.person.key}/credits",
            {"type": "credit", "points": points, "description": "Campanha"},
            headers=await self.stage.operator(),
            idempotency_key=uuid4().hex,
        )
        assert reply.status == 201, reply.body

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        headers = more.pop("headers", None) or self.headers
        return await self.stage.call(method, path, body, headers=headers, **more)

    async def buy(self, body: Any = None, *, path: str = "/purchases", **more: Any) -> Reply:
        return await self.ask("POST", path, a_purchase() if body is None else body, **more)

    async def bought(self, body: Any = None, **more: Any) -> dict[str, Any]:
        """A purchase that was accepted."""
        reply = await self.buy(body, **more)
        assert reply.status in (201, 202), reply.body
        return dict(reply.json)

    async def authorize(self, body: Any = None, **more: Any) -> dict[str, Any]:
        """An external purchase that was accepted."""
        return await self.bought(body, path="/purchases/authorize", **more)

    async def validate(self, purchase: Any, token: str | None = None, **more: Any) -> Reply:
        token = await self.token(purchase) if token is None else token
        return await self.ask("PUT", f"/purchases/{id_of(purchase)}/validate_token", {"token": token}, **more)

    async def wrong(self, purchase: Any, **more: Any) -> Reply:
        return await self.validate(purchase, wrong(await self.token(purchase)), **more)

    async def resend(self, purchase: Any, **more: Any) -> Reply:
        method = more.pop("method", "PUT")
        return await self.ask(method, f"/purchases/{id_of(purchase)}/resend_token", **more)

    async def cancel(self, purchase: Any, **more: Any) -> Reply:
        return await self.ask("POST", f"/purchases/{id_of(purchase)}/cancel", **more)

    async def confirm(self, purchase: Any, **more: Any) -> Reply:
        headers = more.pop("headers", None) or self.of_application
        return await self.ask("POST", f"/purchases/{id_of(purchase)}/confirm", headers=headers, **more)

    async def read(self, purchase: Any) -> dict[str, Any]:
        reply = await self.ask("GET", f"/purchases/{id_of(purchase)}")
        assert reply.status == 200, reply.body
        return dict(reply.json)

    async def token(self, purchase: Any, generation: int | None = None) -> str:
        """The live token of a purchase, or that of another generation."""
        return await token_of(self.stage, self.campaign.key, UUID(id_of(purchase)), generation)

    async def balance(self) -> tuple[int, int]:
        """Available and reserved points, which the ledger replays to."""
        (row,) = await self.stage.fetch(
            "select available, reserved, credited, debited from points_accounts where participant_id = $1",
            self.person.key,
        )
        available, reserved, credited, debited = row
        entries = await self.stage.fetch(
            "select entry_type, points, available_after, reserved_after from points_entries where participant_id = $1"
            " order by entry_no",
            self.person.key,
        )
        assert available + reserved == credited - debited
        assert (available, reserved) == replayed(entries)
        held = await self.stage.value(
            "select coalesce(sum(debited_points), 0)::bigint from purchases where participant_id = $1"
            " and status in ('pending_2fa_approval', 'authorized')",
            self.person.key,
        )
        assert reserved == held
        return available, reserved

    async def ledger(self, purchase: Any) -> list[str]:
        """What the ledger says of a purchase, in order."""
        rows = await self.stage.fetch(
            "select entry_type from points_entries where purchase_id = $1 order by entry_no", UUID(id_of(purchase))
        )
        return [entry_type for (entry_type,) in rows]

    async def told(self, purchase: Any) -> list[str]:
        """The moves of a purchase, of which each has one event, one line of history and one audit record."""
        key = UUID(id_of(purchase))
        events = await self.stage.fetch(
            "select event_type, sequence from events where operation_id = $1 order by sequence", key
        )
        assert [sequence for _, sequence in events] == list(range(1, len(events) + 1))
        moves = [event_type for event_type, _ in events]
        audited = await self.stage.fetch(
            "select action from audit where operation_id = $1 and action like 'purchase.%' order by at, audit_id", key
        )
        assert [action for (action,) in audited] == moves
        history = await self.stage.value("select status_history from purchases where purchase_id = $1", key)
        assert [f"purchase.{line['status']}" for line in history] == moves
        return [move.removeprefix("purchase.") for move in moves]

    async def shift(self, purchase: Any, by: timedelta) -> None:
        """Let time pass for the token, the cooldown and the window of a purchase, by its rows."""
        await self.stage.execute(
            "update challenges set issued_at = issued_at - $2::interval, expires_at = expires_at - $2::interval,"
            " can_resend_at = can_resend_at - $2::interval, approval_deadline = approval_deadline - $2::interval"
            " where operation_id = $1",
            UUID(id_of(purchase)),
            by,
        )

    async def shift_authorization(self, purchase: Any, by: timedelta) -> None:
        """Let time pass for an authorization."""
        await self.stage.execute(
            "update purchases set authorized_until = authorized_until - $2::interval where purchase_id = $1",
            UUID(id_of(purchase)),
            by,
        )


def id_of(purchase: Any) -> str:
    """The id of a purchase: of an answer, of its body, or as it is."""
    if isinstance(purchase, Reply):
        purchase = purchase.json
    return str(purchase["id"] if isinstance(purchase, dict) else purchase)


_EFFECTS = {
    "credit": (1, 0),
    "adjustment": (1, 0),
    "expiration": (-1, 0),
    "reserve": (-1, 1),
    "release": (1, -1),
    "debit": (0, -1),
    "reversal": (1, 0),
}


def replayed(entries: list[Any]) -> tuple[int, int]:
    """The balance the lines of a ledger lead to, each of which tells it."""
    available = reserved = 0
    for entry_type, points, available_after, reserved_after in entries:
        of_available, of_reserved = _EFFECTS[entry_type]
        available, reserved = available + of_available * points, reserved + of_reserved * points
        assert (available, reserved) == (available_after, reserved_after) and min(available, reserved) >= 0
    return available, reserved
