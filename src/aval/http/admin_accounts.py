"""Administration of accounts (transfers.md §8), and the account as its integrator reads it."""

import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal

import msgspec

from aval.domain.calendar import wire_datetime
from aval.domain.money import Brl
from aval.http.admin_route import ACCOUNT, INTEGRATOR, admin_route
from aval.http.edge import Answer, Call, Route, json_answer
from aval.http.fields import author_of, document_of, found, given, key_of, matching, text_of, uuid_of
from aval.http.paging import ORDERED, Listing, listing, page_of
from aval.http.parts import Parts
from aval.http.strict_json import decode
from aval.operations.change_account import change_account
from aval.operations.create_account import create_account
from aval.storage.accounts import Account, AccountData, find_account, list_accounts
from aval.storage.integrators import find_integrator

ACCOUNTS = INTEGRATOR + "/accounts"

AccountStatus = Literal["open", "blocked", "closed"]


class AccountBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new account."""

    account_branch: str
    account_number: str
    account_digit: str
    owner_document_number: str
    owner_name: str
    account_key: str | None = None
    account_status: AccountStatus | None = None


class AccountChange(msgspec.Struct, forbid_unknown_fields=True):
    """What changes of an account; one that is closed stays closed."""

    account_branch: str | None = None
    account_number: str | None = None
    account_digit: str | None = None
    owner_document_number: str | None = None
    owner_name: str | None = None
    account_status: AccountStatus | None = None


class AccountAnswer(msgspec.Struct, kw_only=True):
    """An account with its balance."""

    account_key: str
    account_branch: str
    account_number: str
    account_digit: str
    owner_document_number: str
    owner_name: str
    account_status: AccountStatus
    balance: Brl
    created_at: str


_CHECKS: dict[str, Callable[[str, str], str]] = {
    "account_branch": lambda text, field: matching(text, field, re.compile("[0-9]{1,6}")),
    "account_number": lambda text, field: matching(text, field, re.compile("[0-9]{1,20}")),
    "account_digit": lambda text, field: matching(text, field, re.compile("[0-9A-Za-z]")),
    "owner_document_number": document_of,
    "owner_name": lambda text, field: text_of(text, field, characters_max=150),
}


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    calls = Accounts(app)
    conflict = ("qit.conflict",)
    return [
        admin_route(
            "POST",
            ACCOUNTS,
            calls.create,
            success=201,
            summary="Make an account",
            request=AccountBody,
            response=AccountAnswer,
            refusals=conflict,
        ),
        admin_route(
            "GET",
            ACCOUNTS,
            calls.list_all,
            success=200,
            summary="List accounts",
            response=Listing[AccountAnswer],
            query=ORDERED,
        ),
        admin_route("GET", ACCOUNT, calls.read, success=200, summary="Read an account", response=AccountAnswer),
        admin_route(
            "PATCH",
            ACCOUNT,
            calls.change,
            success=200,
            summary="Change an account",
            request=AccountChange,
            response=AccountAnswer,
            refusals=conflict,
        ),
        Route(
            "GET",
            "/account/{account_key}",
            calls.read_own,
            "transfers:read",
            "integrator",
            "qit",
            200,
            "Read an account and its balance",
            response=AccountAnswer,
        ),
    ]


class Accounts:
    """Handlers of accounts."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def create(self, call: Call) -> Answer:
        """POST I/accounts."""
        values = _checked(decode(call.body, AccountBody))
        account_key = values.pop("account_key", None)
        account = await create_account(
            self._app.db,
            integrator_key=key_of(call, "integrator_key"),
            account_key=None if account_key is None else uuid_of(account_key, "account_key"),
            data=AccountData(**values),
            author=author_of(call),
        )
        return json_answer(201, _account(account))

    async def list_all(self, call: Call) -> Answer:
        """GET I/accounts."""
        page, integrator_key = page_of(call), key_of(call, "integrator_key")
        async with self._app.db.connection() as connection:
            found(await find_integrator(connection, integrator_key))
            rows = await list_accounts(connection, integrator_key, **page.rows)
        return json_answer(200, listing(page, rows, _account))

    async def read(self, call: Call) -> Answer:
        """GET A."""
        return json_answer(200, _account(await account_of(self._app, call)))

    async def change(self, call: Call) -> Answer:
        """PATCH A."""
        account = await change_account(
            self._app.db,
            integrator_key=key_of(call, "integrator_key"),
            account_key=key_of(call, "account_key"),
            changes=_checked(decode(call.body, AccountChange)),
            author=author_of(call),
        )
        return json_answer(200, _account(account))

    async def read_own(self, call: Call) -> Answer:
        """GET /account/{account_key}, an integrator's own."""
        async with self._app.db.connection() as connection:
            account = await find_account(connection, call.caller.integrator.key, key_of(call, "account_key"))
        return json_answer(200, _account(found(account)))


async def account_of(app: Parts, call: Call) -> Account:
    """Read the account an administrative path names."""
    async with app.db.connection() as connection:
        return found(await find_account(connection, key_of(call, "integrator_key"), key_of(call, "account_key")))


def _checked(body: AccountBody | AccountChange) -> dict[str, Any]:
    values = given(body)
    return {name: _CHECKS[name](value, name) if name in _CHECKS else value for name, value in values.items()}


def _account(account: Account) -> AccountAnswer:
    return AccountAnswer(
        account_key=str(account.key),
        balance=account.balance,
        created_at=wire_datetime(account.created_at),
        **asdict(account.data),
    )
