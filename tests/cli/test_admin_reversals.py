"""`aval admin reversals` against a real database with a confirmed purchase in it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from aval.domain.reversal import MOTIVES
from aval.storage.database import Database
from aval.storage.keys_file import KeysFile
from tests.cli.conftest import Command
from tests.confirmed_orders import SoldItem, SoldOrder, make_shop, sell

UNKNOWN = "7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264"
Do = Callable[..., Any]


@pytest.fixture
def admin(command: Command, keys: KeysFile) -> Do:
    """Run `aval admin reversals … --json` and read its document."""
    keys.create()

    def run(*words: str) -> Any:
        ended = command("admin", "reversals", *words, "--json")
        assert ended.exit_code == 0, ended.output
        return json.loads(ended.stdout)

    return run


@pytest.fixture
def order(dsn: str) -> SoldOrder:
    """Two phones and a cable, with shipping."""

    async def sold() -> SoldOrder:
        db = await Database.open(dsn)
        made = SoldOrder([SoldItem(2, 4000), SoldItem(1, 100)], shipping=500)
        await sell(db, await make_shop(db), [made])
        await db.close()
        return made

    return asyncio.run(sold())


def test_pieces_points_shipping_and_the_rest_come_back(admin: Do, order: SoldOrder) -> None:
    phone, cable = (str(item.key) for item in order.items)
    key = str(order.key)
    made = [
        admin("make", "--order", key, "--motive", "5", "--item", f"{phone}=1", "--description", "Chegou quebrado"),
        admin("make", "--order", key, "--motive", "20", "--item-value", f"{cable}=30"),
        admin("make", "--order", key, "--motive", "20", "--value", "70"),
        admin("make", "--order", key, "--motive", "14", "--shipping", "200"),
        admin("make", "--order", key, "--motive", "4", "--total", "--shipping", "300"),
    ]
    told = [(each["kind"], each["points"], each["shipping_points"]) for each in made]
    assert told == [
        ("quantity", 4000, 0),
        ("value", 30, 0),
        ("value", 70, 0),
        ("shipping", 0, 200),
        ("total", 4000, 300),
    ]
    assert (made[0]["motive_description"], made[0]["requested_by"]) == ("Chegou quebrado", "command-line")
    assert admin("list", "--order", key) == made
    assert admin("order", "--order", key)["status"] == "reversed"


def test_a_key_gives_back_once(admin: Do, order: SoldOrder) -> None:
    words = ("make", "--order", str(order.key), "--motive", "20", "--value", "10", "--key", "r-1")
    assert admin(*words) == admin(*words)
    assert len(admin("list", "--order", str(order.key))) == 1


def test_motives_are_listed(admin: Do) -> None:
    assert [each["name"] for each in admin("motives")] == list(MOTIVES)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--motive", "5"], "The reversal fields contradict each other or give nothing back."),
        (["--motive", "5", "--value", "9000"], "The order has inconsistencies."),
        (["--motive", "5", "--item", f"{UNKNOWN}=1"], "Nothing was found under the given ids"),
        (["--motive", "5", "--item", "phone"], "must be KEY=NUMBER"),
        (["--motive", "5", "--item", f"{UNKNOWN}=x"], "must be KEY=NUMBER"),
        (["--motive", "51", "--total"], "--motive"),
        (["--motive", "5", "--value", "-1"], "--value"),
        (["--motive", "5", "--total", "--description", "a" * 501], "--description must be at most 500 characters."),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(
    command: Command, keys: KeysFile, order: SoldOrder, words: list[str], sentence: str
) -> None:
    keys.create()
    ended = command("admin", "reversals", "make", "--order", str(order.key), *words)
    assert ended.exit_code == 2
    assert sentence in " ".join(ended.output.replace("│", " ").split())


def test_an_unknown_order_is_told(command: Command, keys: KeysFile) -> None:
    keys.create()
    for words in (("order",), ("list",), ("make", "--motive", "4", "--total")):
        ended = command("admin", "reversals", words[0], "--order", UNKNOWN, *words[1:])
        assert (ended.exit_code, "Nothing was found" in ended.output) == (2, True)
