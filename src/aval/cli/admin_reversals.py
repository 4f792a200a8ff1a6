"""`aval admin reversals`: points of a confirmed order given back, and what was given back before."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import uuid4

import typer

from aval.cli.admin_desk import AdminDesk, body_of
from aval.cli.admin_options import IsJson, read_key
from aval.cli.admin_redemptions import ask, every
from aval.cli.admin_show import show_many, show_one
from aval.cli.refusal import CommandRefused
from aval.domain.campaign import POINTS_MAX
from aval.domain.reversal import MOTIVES

COLUMNS = ("id", "kind", "points", "shipping_points", "total", "motive_id", "requested_by", "created_at")
DESCRIPTION_CHARACTERS_MAX = 500  # spec redemptions.md §5

OrderId = Annotated[str, typer.Option("--order", parser=read_key, metavar="KEY", help="Id of the order.")]


def read_portion(text: str) -> tuple[str, int]:
    """One `KEY=NUMBER`: so much of an item."""
    key, _, number = text.partition("=")
    if not (number.isascii() and number.isdigit()) or not 1 <= int(number) <= POINTS_MAX:
        raise typer.BadParameter("must be KEY=NUMBER, such as 90c192cf-d3ac-44af-8f21-ddb66cad4a26=1.")
    return read_key(key), int(number)


def _portions(name: str, about: str) -> Any:
    return typer.Option(name, parser=read_portion, metavar="KEY=NUMBER", help=about)


def _points(about: str) -> Any:
    return typer.Option(min=0, max=POINTS_MAX, help=about)


def add_reversals(group: typer.Typer, desk: AdminDesk) -> None:
    """Add `reversals`."""

    @group.command("order")
    def show_order(order: OrderId, is_json: IsJson = False) -> None:
        """Show an order with its items, and what of it came back."""
        show_one(desk.run(lambda session: ask(session, "GET", f"/orders/{order}")), is_json)

    @group.command("list")
    def list_all(order: OrderId, is_json: IsJson = False) -> None:
        """List the reversals of an order, oldest first."""
        rows = desk.run(lambda session: every(session, f"/orders/{order}/reversals"))
        show_many(rows, COLUMNS, is_json, nothing="Nothing of this order was given back.")

    @group.command("motives")
    def motives(is_json: IsJson = False) -> None:
        """List the motives a reversal may have."""
        rows = desk.run(lambda session: every(session, "/reversal_motives"))
        show_many(rows, ("id", "name"), is_json, nothing="There are none.")

    _register_making(group, desk)


def _register_making(group: typer.Typer, desk: AdminDesk) -> None:
    @group.command("make")
    def make(
        context: typer.Context,
        order: OrderId,
        motive: Annotated[int, typer.Option(min=1, max=len(MOTIVES), help="Id of the motive; see `motives`.")],
        is_total: Annotated[bool, typer.Option("--total", help="All products that are left.")] = False,
        shipping: Annotated[int, _points("Points of the shipping; a total needs them, too.")] = 0,
        value: Annotated[int, _points("Points of products, of no item in particular.")] = 0,
        quantities: Annotated[list[Any] | None, _portions("--item", "So many pieces of an item; repeatable.")] = None,
        values: Annotated[list[Any] | None, _portions("--item-value", "Points of an item; repeatable.")] = None,
        description: Annotated[str | None, typer.Option(help="At most 500 characters.")] = None,
        key: Annotated[
            str | None, typer.Option(help="A repetition under the same key gives back once; default a new one.")
        ] = None,
        is_json: IsJson = False,
    ) -> None:
        """Give points of an order back: all, pieces of items, points, or shipping alone."""
        told = body_of(context).get("description")
        if told is not None and len(told) > DESCRIPTION_CHARACTERS_MAX:
            raise CommandRefused(f"--description must be at most {DESCRIPTION_CHARACTERS_MAX} characters.")
        body = {
            "executeTotalRefund": is_total,
            "refundType": 1 if quantities else 2,
            "currentRefundValue": value,
            "refundShippingValue": shipping,
            "orderItems": [*_lines("refundQuantity", quantities), *_lines("refundValue", values)],
            "refundMotiveId": motive,
            "refundMotiveDescription": told,
        }
        path, used = f"/orders/{order}/reversals", key or str(uuid4())
        show_one(desk.run(lambda session: ask(session, "POST", path, body, key=used)), is_json)


def _lines(member: str, portions: Sequence[tuple[str, int]] | None) -> list[dict[str, Any]]:
    return [{"orderItemId": key, member: number} for key, number in portions or ()]
