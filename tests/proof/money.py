"""Proof of ST5: money is exact – no float on its way, every spelling read as written, every balance rebuilt.

"On its way" is read from the source: every module below the commands whose syntax tree handles money. Exactness is
judged by decimal arithmetic, which Aval itself does not use. Batches are sums of random items until they have routes.
"""

import ast
import importlib
import json
import random
import re
import types
import typing
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from aval.domain.money import CENTAVOS_MAX, AmountError, Brl
from aval.http.strict_json import amount_of
from aval.storage.database import Database
from tests.factories import Client, Party
from tests.ledger import check_ledger
from tests.proof.deployment import figure
from tests.stage import OpenAs, Stage, ted_body, until, working
from tests.world import ITEMS, body_of, item_body

pytestmark = pytest.mark.proof

AMOUNTS = 100_000
BATCHES = 100_000
TRANSFERS = figure(120, 1_200)
SOURCE = Path(__file__).parents[2] / "src" / "aval"
ROOMS_WITHOUT_MONEY = {"cli", "settings"}  # the demo shows amounts it was told, no setting is one; floats are waits
MONEY_WORDS = re.compile(
    r"amount|centavos|balance|(?<![a-z])(fee|brl|debit|credit|refund|spent)(?![a-z])", re.IGNORECASE
)
INEXACT_CALLS = {"float", "round", "complex", "fsum", "sqrt", "pow"}
INEXACT_MODULES = {"numpy", "statistics", "fractions", "cmath"}
INEXACT_SQL = re.compile(r"::\s*(float\d?|real|double)\b|\bdouble precision\b|\b(round|avg)\(", re.IGNORECASE)
# Waits in seconds, a type of the documentation, and a second reading of callbacks for repeated keys.
NOT_MONEY: set[tuple[str, str]] = {
    ("domain/request.py", "math.ceil"),
    ("http/openapi_types.py", "float"),
    ("rails/http.py", "json.loads"),
}
EDGES = [1, 9, 10, 11, 99, 100, 101, 999, 1_000, 1_001, 12_345, 99_999, 100_000, 20_201, CENTAVOS_MAX - 1, CENTAVOS_MAX]


def money_modules() -> Iterator[tuple[str, ast.Module]]:
    """Path and syntax tree of every module that handles money."""
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        tree = ast.parse(path.read_text())
        if name.partition("/")[0] not in ROOMS_WITHOUT_MONEY and any(map(handles_money, ast.walk(tree))):
            yield name, tree


def handles_money(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=word) | ast.Attribute(attr=word) | ast.arg(arg=word):
            return bool(MONEY_WORDS.search(word))
        case ast.Constant(value=str(text)):
            return "centavos" in text or "_amount" in text
        case _:
            return False


def faults_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Where a syntax tree could make an amount inexact; the types it names are judged by `is_inexact`."""
    types_named = {id(part) for node in ast.walk(tree) for kind in types_of(node) for part in ast.walk(kind)}
    for node in ast.walk(tree):
        fault = None if id(node) in types_named else fault_of(node) or fault_of_use(node)
        if fault is not None:
            yield getattr(node, "lineno", 0), fault


def types_of(node: ast.AST) -> list[ast.AST]:
    match node:
        case ast.arg(annotation=ast.AST() as kind) | ast.AnnAssign(annotation=kind):
            return [kind]
        case ast.FunctionDef(returns=ast.AST() as kind) | ast.AsyncFunctionDef(returns=ast.AST() as kind):
            return [kind]
        case _:
            return []


def fault_of(node: ast.AST) -> str | None:
    match node:
        case ast.Constant(value=float()):
            return "literal"
        case ast.Constant(value=str(text)):
            return found[0] if (found := INEXACT_SQL.search(text)) else None
        case ast.Name(id=word) if word in INEXACT_CALLS:
            return word
        case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
            return "/"
        case _:
            return None


def fault_of_use(node: ast.AST) -> str | None:
    match node:
        case ast.Attribute(value=ast.Name(id="math"), attr=word):
            return None if word == "inf" else f"math.{word}"
        case ast.ImportFrom(module=str(word)):
            return word if word in {*INEXACT_MODULES, "math"} else None
        case ast.Import(names=names):
            return next((alias.name for alias in names if alias.name in INEXACT_MODULES), None)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="json"), attr="loads"), keywords=given):
            return None if "parse_float" in {keyword.arg for keyword in given} else "json.loads"
        case _:
            return None


def annotations_of(module: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The types of everything a module defines: members of classes, parameters and results of functions."""
    for name, thing in vars(module).items():
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        functions = vars(thing).values() if isinstance(thing, type) else [thing]
        if isinstance(thing, type):
            yield name, typing.get_type_hints(thing)
        for function in functions:
            function = function.fget if isinstance(function, property) else getattr(function, "__func__", function)
            if isinstance(function, types.FunctionType):
                hints = typing.get_type_hints(function, localns=vars(typing))
                result = {function.__name__: hints["return"]} if "return" in hints else {}
                yield f"{name}.{function.__name__}", hints | result


def is_inexact(kind: Any) -> bool:
    return kind in (float, complex) or any(map(is_inexact, typing.get_args(kind)))


def random_centavos(chance: random.Random) -> int:
    """Any amount, as likely small as large."""
    return chance.randrange(1, 10 ** chance.randint(1, 9))


def test_no_float_is_on_the_way_of_money() -> None:
    modules = dict(money_modules())
    assert {"domain/money.py", "http/strict_json.py", "storage/challenges.py", "storage/settlements.py"} <= set(modules)
    found = [(name, *fault) for name, tree in modules.items() for fault in faults_of(tree)]
    assert [fault for fault in found if (fault[0], fault[2]) not in NOT_MONEY] == []
    assert {(fault[0], fault[2]) for fault in found} >= NOT_MONEY, "an exception nobody needs any more"


def test_every_member_that_names_money_has_an_exact_type() -> None:
    seen, wrong = 0, []
    for name, _ in money_modules():
        module = importlib.import_module(f"aval.{name.removesuffix('.py').replace('/', '.')}")
        for place, hints in annotations_of(module):
            for member, kind in hints.items():
                if MONEY_WORDS.search(member):
                    seen += 1
                    wrong += [(name, place, member, kind)] if is_inexact(kind) else []
    assert wrong == [] and seen > 50


async def test_no_column_is_inexact(db: Database) -> None:
    async with db.connection() as connection:
        columns = await connection.fetch(
            "select table_name, column_name, data_type from information_schema.columns where table_schema = 'aval'"
        )
    money = [row for row in columns if MONEY_WORDS.search(row["column_name"])]
    assert len(money) >= 8
    assert {row["data_type"] for row in money if row["column_name"].endswith("centavos")} == {"bigint"}
    inexact = {"real", "double precision", "numeric", "money"}
    assert [dict(row) for row in columns if row["data_type"] in inexact] == []


def test_amounts_are_read_and_written_exactly(chance: random.Random) -> None:
    for centavos in [*EDGES, *(random_centavos(chance) for _ in range(AMOUNTS))]:
        exact = Decimal(centavos) / 100
        plain = f"{exact:.2f}"
        shortest = plain.removesuffix("0").removesuffix("0").removesuffix(".") if "." in plain else plain
        amount = Brl(centavos)
        for text in {plain, shortest}:
            amount = amount_of(msgspec.Raw(text.encode()), "amount")
            assert type(amount.centavos) is int and amount.centavos == centavos, text
        assert (amount.wire(), amount.details()) == (shortest, plain)
        assert Decimal(amount.localized("pt-BR").removeprefix("R$ ").replace(".", "").replace(",", ".")) == exact
        assert Decimal(amount.localized("en").removeprefix("BRL ").replace(",", "")) == exact


def test_what_is_no_exact_amount_is_no_amount(chance: random.Random) -> None:
    for _ in range(AMOUNTS // 10):
        whole, digits = chance.randrange(10**5), f"{chance.randrange(10**4):04d}"
        for text in (
            f"{whole}.{digits[:3]}",
            f"{whole}e2",
            f"-{whole}",
            f"0{whole}",
            f"{whole}.",
            f".{digits}",
            "1e-2",
        ):
            with pytest.raises(AmountError):
                Brl.parse(text)


def test_items_add_up_to_their_total(chance: random.Random) -> None:
    for _ in range(BATCHES):
        items = [random_centavos(chance) for _ in range(chance.choice([1, 2, 3, 5, 12]))]
        total = Brl.total(Brl(item) for item in items)
        assert type(total.centavos) is int and total.details() == f"{sum(map(Decimal, items)) / 100:.2f}"
        chance.shuffle(items)
        left = total
        for item in items:
            left -= Brl(item)
        assert left == Brl(0)


async def test_balances_rebuild_from_the_ledger(db: Database, db_as: OpenAs, chance: random.Random) -> None:
    stage = await Stage.make(db, db_as, processes=2)
    party = await stage.party()
    await stage.execute("update integrators set pix_fee_centavos = 137, ted_fee_centavos = 1001, version = version + 1")
    async with working(await stage.worker()):
        for _ in range(TRANSFERS):
            await transfer(stage, party, chance)
        for _ in range(TRANSFERS // 10):
            await batch(stage, party, chance)
        await stage.execute("update settlement_jobs set created_at = created_at - interval '1 minute'")
        await until(lambda: settled(stage))
    await check_ledger(db)
    await stage.balance(party)
    entries = {row[0] for row in await stage.fetch("select distinct entry_type from ledger_entries")}
    assert entries == {"credit", "transfer", "fee", "transfer_refund", "fee_refund", "transfer_return"}


async def transfer(stage: Stage, party: Party, chance: random.Random) -> None:
    """One transfer of a random amount and end; what is answered of it is the very text that was sent."""
    kind = chance.choice(["pix_transfer", "ted"])
    centavos = chance.randrange(1, 50_000)
    script = chance.choice([0, 0, 93, 95, 98, 99])  # transfers.md §10
    body = party.pix() if kind == "pix_transfer" else ted_body(party)
    body["target_account"]["ispb"] = f"999999{script:02d}" if script else "87654321"
    text = f"{Decimal(centavos) / 100:.2f}"
    sent = json.dumps(body | {"transaction_amount": "AMOUNT"}).replace('"AMOUNT"', text)
    client = Client(stage.apps[0], party.api_key)
    answer = await client("POST", f"/account/{party.account.key}/{kind}", raw=sent.encode())
    assert answer.status == 202, answer
    key = UUID(answer.json[f"{kind}_key"])
    seen = await stage.call(party, "GET", f"{kind}/{key}/outgoing")
    told = json.loads(seen.body, parse_float=str, parse_int=str)
    shown = told["transfer_amount" if kind == "pix_transfer" else "transaction_amount"]
    assert Decimal(shown) == Decimal(text) and told["fee_amount"] == ("1.37" if kind == "pix_transfer" else "10.01")
    assert (await stage.approve(party, key, kind)).status == 202


async def batch(stage: Stage, party: Party, chance: random.Random) -> None:
    """A batch of random amounts and ends; its total and fees are told to the centavo."""
    kind = chance.choice(list(ITEMS))
    amounts = [chance.randrange(1, 50_000) for _ in range(chance.randint(1, 12))]
    items = [item_body(party, kind, transaction_amount=centavos / 100) for centavos in amounts]
    for item in items:
        item["target_account"] |= {"ispb": chance.choice(["87654321", "99999993", "99999995", "99999999"])}
    answer = await stage.call(party, "POST", kind, body_of(party, kind, **{ITEMS[kind]: items}))
    assert answer.status == 202, answer
    told = json.loads(answer.body, parse_float=str, parse_int=str)
    fee = Decimal("1.37") if kind == "pix_transfer_batch" else Decimal("10.01")
    assert Decimal(told["total_amount"]) == Decimal(sum(amounts)) / 100
    assert Decimal(told["fee_amount"]) == fee * len(amounts)
    assert (await stage.approve(party, UUID(answer.json[f"{kind}_key"]), kind)).status == 201


async def settled(stage: Stage) -> bool:
    return not await stage.value("select count(*) from settlement_jobs where state = 'ready'")
