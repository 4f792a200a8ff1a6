"""Administration of what is on an account and what may leave it: entries, fees, limits (transfers.md §8, §8.2)."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from aval.domain.calendar import wire_datetime
from aval.domain.money import Brl
from aval.http.admin_accounts import account_of
from aval.http.admin_integrators import FeesAnswer, FeesBody, fees_of
from aval.http.admin_route import ACCOUNT, admin_route
from aval.http.edge import Answer, Call, Route, json_answer
from aval.http.fields import author_of, key_of, text_of, uuid_of
from aval.http.paging import ORDERED, Listing, listing, page_of
from aval.http.parts import Parts
from aval.http.strict_json import ABSENT, amount_of, decode, optional_amount_of
from aval.operations.post_entry import EntryRequest, post_entry
from aval.operations.set_fees import Fees, set_fees
from aval.operations.set_limits import set_limits
from aval.storage.entries import Entry, list_entries

DESCRIPTION_CHARACTERS_MAX = 140

EntryType = Literal["credit", "debit"]


class EntryBody(msgspec.Struct, forbid_unknown_fields=True):
    """A booking."""

    request_control_key: str
    entry_type: EntryType
    amount: msgspec.Raw
    description: str | None = None


class EntryAnswer(msgspec.Struct, kw_only=True):
    """A booking and the balance it left."""

    entry_key: str
    request_control_key: str
    entry_type: EntryType
    amount: Brl
    description: str | None
    balance: Brl
    created_at: str


class LimitSet(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The limits of one family; absent or null is no limit."""

    operation_amount_limit: msgspec.Raw = ABSENT
    batch_amount_limit: msgspec.Raw = ABSENT
    daily_amount_limit: msgspec.Raw = ABSENT
    nightly_amount_limit: msgspec.Raw = ABSENT
    sms_amount_limit: msgspec.Raw = ABSENT
    email_amount_limit: msgspec.Raw = ABSENT


class LimitsBody(msgspec.Struct, forbid_unknown_fields=True):
    """The limits of an account, amounts without fees."""

    pix: LimitSet | None = None
    ted: LimitSet | None = None


class LimitsAnswer(msgspec.Struct):
    """The limits that are set, by family and name."""

    pix: dict[str, Brl]
    ted: dict[str, Brl]


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    money = AccountMoney(app)
    return [*_entry_routes(money), *_rule_routes(money)]


def _entry_routes(money: "AccountMoney") -> list[Route]:
    return [
        admin_route(
            "POST",
            ACCOUNT + "/entries",
            money.post_entry,
            success=201,
            summary="Book money onto an account or off it",
            request=EntryBody,
            response=EntryAnswer,
            refusals=("qit.conflict",),
        ),
        admin_route(
            "GET",
            ACCOUNT + "/entries",
            money.list_entries,
            success=200,
            summary="List the entries of an account",
            response=Listing[EntryAnswer],
            query=ORDERED,
        ),
    ]


def _rule_routes(money: "AccountMoney") -> list[Route]:
    fees, limits = ACCOUNT + "/fees", ACCOUNT + "/limits"
    return [
        admin_route(
            "PUT",
            fees,
            money.set_fees,
            success=200,
            summary="Set an account's fees",
            request=FeesBody,
            response=FeesAnswer,
        ),
        admin_route("GET", fees, money.read_fees, success=200, summary="Read an account's fees", response=FeesAnswer),
        admin_route("DELETE", fees, money.clear_fees, success=204, summary="Return to the integrator's fees"),
        admin_route(
            "PUT",
            limits,
            money.set_limits,
            success=200,
            summary="Set an account's limits",
            request=LimitsBody,
            response=LimitsAnswer,
        ),
        admin_route(
            "GET", limits, money.read_limits, success=200, summary="Read an account's limits", response=LimitsAnswer
        ),
    ]


class AccountMoney:
    """Handlers of what is on an account and what may leave it."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def post_entry(self, call: Call) -> Answer:
        """POST A/entries."""
        body = decode(call.body, EntryBody)
        description = body.description or None
        request = EntryRequest(
            account_key=key_of(call, "account_key"),
            request_control_key=uuid_of(body.request_control_key, "request_control_key"),
            entry_type=body.entry_type,
            amount=amount_of(body.amount, "amount"),
            description=description and text_of(description, "description", characters_max=DESCRIPTION_CHARACTERS_MAX),
        )
        entry, is_replay = await post_entry(
            self._app.db, integrator_key=key_of(call, "integrator_key"), request=request, author=author_of(call)
        )
        return json_answer(201, _entry(entry), **({"idempotent_replayed": "true"} if is_replay else {}))

    async def list_entries(self, call: Call) -> Answer:
        """GET A/entries."""
        page, account = page_of(call), await account_of(self._app, call)
        async with self._app.db.connection() as connection:
            rows = await list_entries(connection, key_of(call, "integrator_key"), account.key, **page.rows)
        return json_answer(200, listing(page, rows, _entry))

    async def set_fees(self, call: Call) -> Answer:
        """PUT A/fees."""
        fees = await self._with_fees(call, fees_of(call.body))
        return json_answer(200, FeesAnswer(fees.pix_transfer, fees.ted))

    async def read_fees(self, call: Call) -> Answer:
        """GET A/fees."""
        account = await account_of(self._app, call)
        return json_answer(200, FeesAnswer(account.pix_fee, account.ted_fee))

    async def clear_fees(self, call: Call) -> Answer:
        """DELETE A/fees."""
        await self._with_fees(call, Fees())
        return Answer(204)

    async def _with_fees(self, call: Call, fees: Fees) -> Fees:
        return await set_fees(
            self._app.db,
            integrator_key=key_of(call, "integrator_key"),
            account_key=key_of(call, "account_key"),
            fees=fees,
            author=author_of(call),
        )

    async def set_limits(self, call: Call) -> Answer:
        """PUT A/limits."""
        body = decode(call.body, LimitsBody)
        limits = {"pix": _limits_of("pix", body.pix), "ted": _limits_of("ted", body.ted)}
        await set_limits(
            self._app.db,
            integrator_key=key_of(call, "integrator_key"),
            account_key=key_of(call, "account_key"),
            limits=limits,
            author=author_of(call),
        )
        return json_answer(200, _limits(limits))

    async def read_limits(self, call: Call) -> Answer:
        """GET A/limits."""
        account = await account_of(self._app, call)
        return json_answer(200, _limits(account.limits))


def _limits_of(family: str, limits: LimitSet | None) -> dict[str, int]:
    named = {} if limits is None else msgspec.structs.asdict(limits)
    amounts = {name: optional_amount_of(raw, f"{family}.{name}") for name, raw in named.items()}
    return {name: amount.centavos for name, amount in amounts.items() if amount is not None}


def _limits(limits: Mapping[str, Mapping[str, int]]) -> LimitsAnswer:
    families = ({name: Brl(value) for name, value in limits.get(family, {}).items()} for family in ("pix", "ted"))
    return LimitsAnswer(*families)


def _entry(entry: Entry) -> EntryAnswer:
    return EntryAnswer(
        entry_key=str(entry.key),
        request_control_key=str(entry.request_control_key),
        entry_type="credit" if entry.entry_type == "credit" else "debit",
        amount=entry.amount,
        description=entry.description,
        balance=entry.balance,
        created_at=wire_datetime(entry.created_at),
    )
