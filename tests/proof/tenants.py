"""Proof of TN1 (T18): to an integrator, what belongs to another is what does not exist.

Generated from the OpenAPI document: every route × id parameter × filter, asked once with another integrator's id and
once with one nobody has, must answer the same bytes and change nothing. A route without a line in
`cases/household.py` fails. Bodies that name ids are in later tests. The same for redemptions, from their routes and
`cases/clubhouse.py`: there the tenant is a campaign, and to a participant another participant is a stranger, too.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from standardwebhooks.webhooks import Webhook

from aval.http.edge import Route
from tests.buyers import a_purchase
from tests.factories import Reply, make_credential, make_party
from tests.proof.cases.clubhouse import BODIES, Clubhouse, make_clubhouse
from tests.proof.cases.household import RAIL, SESSIONS, Household, body_of, end_to_end_id, make_household, pix_by_key
from tests.redemption_stage import RedemptionStage
from tests.redemption_stage import issuer as issuer
from tests.redemption_stage import redemptions as redemptions
from tests.world import ITEMS, World
from tests.world import body_of as request_of

pytestmark = pytest.mark.proof

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_PARAMETER = re.compile(r"\{(\w+)\}")
NOT_IDS = {"pix_transfer_direction", "ted_direction"}
# Filters whose values are no ids: nobody's secret, the same words for all.
OPEN_FILTERS = {
    *("page", "page_size", "date_from", "date_to", "order_by", "start_datetime", "end_datetime", "event_type"),
    *("callback_status", "pix_transfer_direction", "ted_direction", "pix_transfer_status", "ted_status"),
    *("pix_transfer_batch_status", "ted_batch_status"),
}
UNKNOWN = {"end_to_end_id": end_to_end_id, "destination": lambda: "+5511900000007"}


@dataclass
class Neighbours:
    """Two households of one deployment."""

    world: World
    own: Household
    foreign: Household

    async def ask(self, method: str, template: str, **other: str) -> Reply:
        """Call a route as `own`, with other ids in the path."""
        path = self.own.path(template, **other)
        return await self.send(method, path, template)

    async def send(self, method: str, target: str, template: str) -> Reply:
        body = body_of(self.own, method, template)
        return await self.world.call(method, target, body, key=self.own.credential(template))


@pytest.fixture(scope="module")
async def households(module_world: World) -> tuple[Household, Household]:
    return await make_household(module_world), await make_household(module_world)


@pytest.fixture
def neighbours(world: World, households: tuple[Household, Household]) -> Neighbours:
    return Neighbours(world, *households)


def masked(reply: Reply) -> tuple[int, list[tuple[str, str]], str]:
    """An answer without its ids and times; headers in their order."""
    text = _TIME.sub("<time>", _UUID.sub("<key>", reply.body.decode()))
    return reply.status, [(name, _UUID.sub("<key>", value)) for name, value in reply.headers.items()], text


def operations(world: World) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for template, methods in world.contract.document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), template, operation


def id_parameters(template: str) -> list[str]:
    """The ids of a path; of an administrator's only those below the integrator, whose name is no secret to them."""
    names = [name for name in _PARAMETER.findall(template) if name not in NOT_IDS]
    return [name for name in names if not (template.startswith("/admin") and name == "integrator_key")]


def combinations(template: str, foreign: Household) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """What is foreign beside what is unknown: each id alone, then all together."""
    names = id_parameters(template)
    for chosen in [*([name] for name in names), *([names] if len(names) > 1 else [])]:
        yield {name: foreign.keys[name] for name in chosen}, {name: str(uuid4()) for name in chosen}


async def test_every_id_of_a_path(neighbours: Neighbours) -> None:
    world = neighbours.world
    before, differences, asked = await world.snapshot(), [], 0
    for method, template, _ in operations(world):
        if f"{method} {template}" == RAIL or template.startswith(SESSIONS):
            continue
        for foreign, unknown in combinations(template, neighbours.foreign):
            answers = [masked(await neighbours.ask(method, template, **ids)) for ids in (foreign, unknown)]
            asked += 1
            if answers[0] != answers[1] or answers[0][0] != 404:
                differences.append((method, template, list(foreign), [answer[::2] for answer in answers]))
    assert differences == []
    assert asked >= 35
    assert await world.snapshot() == before


async def test_every_filter(neighbours: Neighbours) -> None:
    """A list asked for another's id is as empty as one asked for nobody's; asked for one's own it is not."""
    differences, asked = [], 0
    for method, template, operation in operations(neighbours.world):
        for parameter in operation["parameters"]:
            name = parameter["name"]
            if parameter["in"] != "query" or name in OPEN_FILTERS:
                continue
            path, asked = neighbours.own.path(template), asked + 1
            own, foreign = neighbours.own.keys[name], neighbours.foreign.keys[name]
            unknown = UNKNOWN.get(name, lambda: str(uuid4()))()
            said = {
                who: await neighbours.send(method, f"{path}?{name}={value.replace('+', '%2B')}", template)
                for who, value in (("own", own), ("foreign", foreign), ("unknown", unknown))
            }
            is_same = masked(said["foreign"]) == masked(said["unknown"]) and said["foreign"].json["data"] == []
            if not is_same:
                differences.append((template, name, said["foreign"].body))
            # The household's request_control_key is that of a single and of a batch of each kind; no item has it.
            if not said["own"].json["data"] and not template.endswith(("}/pix_transfers", "}/teds")):
                differences.append((template, name, "the filter finds nothing at all"))
    assert differences == []
    assert asked >= 7


async def test_lists_hold_nothing_of_another(neighbours: Neighbours) -> None:
    """Every list, unfiltered and page by page, names no key of the other household."""
    strangers = {key for name, key in neighbours.foreign.keys.items() if name not in NOT_IDS}
    leaks, lists = [], 0
    for method, template, operation in operations(neighbours.world):
        if method != "GET" or template == "/admin/integrators":
            continue
        lists += 1
        queries = [""] + (["?page=2"] if "page" in {each["name"] for each in operation["parameters"]} else [])
        for query in queries:
            reply = await neighbours.send(method, neighbours.own.path(template) + query, template)
            assert reply.status == 200, (template, reply.body)
            leaks += [(template, key) for key in strangers if key in reply.body.decode()]
    assert leaks == []
    assert lists >= 15


async def test_no_integrator_credential_opens_administration_nor_the_reverse(neighbours: Neighbours) -> None:
    world, before = neighbours.world, await neighbours.world.snapshot()
    for method, template, _ in operations(world):
        if f"{method} {template}" == RAIL or template.startswith(SESSIONS):
            continue
        for home in (neighbours.own, neighbours.foreign):
            is_admin = template.startswith("/admin")
            key = home.party.api_key if is_admin else home.admin_key
            reply = await world.call(method, home.path(template), body_of(home, method, template), key=key)
            assert (reply.status, reply.code) == (401, "GDF000014"), (method, template)
    assert await world.snapshot() == before


async def test_every_method_of_every_path(neighbours: Neighbours) -> None:
    """A method a path does not have is refused alike for own, foreign and unknown ids."""
    world, before = neighbours.world, await neighbours.world.snapshot()
    for template, methods in world.contract.document["paths"].items():
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - {each.upper() for each in methods}:
            unknown = {name: str(uuid4()) for name in _PARAMETER.findall(template) if name not in NOT_IDS}
            homes = [neighbours.own.path(template), neighbours.foreign.path(template)]
            paths = [*homes, neighbours.own.path(template, **unknown)]
            replies = [await world.call(method, path, key=neighbours.own.party.api_key) for path in paths]
            assert {reply.status for reply in replies} == {405}, (method, template)
            assert len({repr(masked(reply)) for reply in replies}) == 1, (method, template)
    assert await world.snapshot() == before


async def test_ids_in_bodies_are_ones_own(neighbours: Neighbours) -> None:
    """Another's request_control_key and end_to_end_id are free to use; another's approver is nobody."""
    world, own, foreign = neighbours.world, neighbours.own, neighbours.foreign
    path, key = f"/account/{own.keys['account_key']}", own.party.api_key
    used = {"request_control_key": foreign.keys["request_control_key"], "end_to_end_id": foreign.keys["end_to_end_id"]}
    made = await world.call("POST", f"{path}/pix_transfer", own.party.pix(**pix_by_key(**used)), key=key)
    assert made.status == 202
    assert made.json["pix_transfer_key"] != foreign.keys["pix_transfer_key"]
    unknown = own.party.tfa_info | {"approver_document_number": "39053344705"}
    for kind in ("pix_transfer", "ted", *ITEMS):
        said = [
            masked(await world.call("POST", f"{path}/{kind}", request_of(own.party, kind, tfa_info=info), key=key))
            for info in (foreign.party.tfa_info, unknown)
        ]
        assert said[0] == said[1]
        assert said[0][0] == 403


async def test_an_idempotency_key_is_ones_own(neighbours: Neighbours) -> None:
    """The same Idempotency-Key at two integrators names two answers."""
    world = neighbours.world
    for home in (neighbours.own, neighbours.foreign):
        operation_key = await world.request(home.party)
        token = await world.token(home.party, operation_key)
        reply = await world.validate(home.party, "pix_transfer", operation_key, token, idempotency_key="shared")
        assert reply.status == 202
        assert reply.json["pix_transfer_key"] == str(operation_key)


async def test_tokens_open_only_their_own_operation(neighbours: Neighbours) -> None:
    """The right token of another's operation is a wrong one here, and the other way round nothing was used."""
    world = neighbours.world
    theirs = await world.request(neighbours.foreign.party)
    token = await world.token(neighbours.foreign.party, theirs)
    mine = await world.request(neighbours.own.party)
    assert (await world.validate(neighbours.own.party, "pix_transfer", mine, token)).code == "PXT000173"
    rows = await world.fetch("select operation_id from comparisons where operation_id = any($1)", [theirs, mine])
    assert [row["operation_id"] for row in rows] == [mine]


async def test_a_core_tells_of_its_own_settlements_only(neighbours: Neighbours) -> None:
    """Another's reference answers like nobody's, and a stranger's signature proves nothing."""
    world = neighbours.world
    cores = []
    for _ in range(2):
        body = {"name": "Loja", "ispb": "12345678", "mode": "live", "rail_url": "https://core.example.com"}
        made = await world.call("POST", "/admin/integrators", body, key=neighbours.own.admin_key)
        cores.append((made.json["integrator_key"], made.json["rail_secret"]))
    (own, secret), (foreign, _) = cores
    their_reference = neighbours.foreign.keys["pix_transfer_key"]
    before = await world.snapshot()

    async def told(integrator_key: str, reference: str) -> Reply:
        body = json.dumps({"rail_reference": reference, "settlement_status": "pending"}).encode()
        now = (await world.fetch("select clock_timestamp() as now"))[0]["now"]
        stamp = {"webhook_id": "msg_1", "webhook_timestamp": str(int(now.timestamp()))}
        signature = Webhook(secret).sign("msg_1", now, body.decode())
        path = f"/rail/{integrator_key}/callbacks"
        return await world.call("POST", path, key=None, raw=body, webhook_signature=signature, **stamp)

    answers = [masked(await told(own, reference)) for reference in (their_reference, str(uuid4()))]
    assert answers[0] == answers[1]
    assert answers[0][0] == 404
    strangers = [masked(await told(key, their_reference)) for key in (foreign, neighbours.own.keys["integrator_key"])]
    strangers.append(masked(await told(str(uuid4()), their_reference)))
    assert len({repr(answer) for answer in strangers}) == 1
    assert strangers[0][0] == 401
    assert await world.snapshot() == before


async def test_a_scope_missing_answers_alike_for_own_and_foreign_ids(neighbours: Neighbours) -> None:
    """The refusal repeats the id it was sent, and nothing else of it."""
    world = neighbours.world
    reader = await make_party(world.db)
    weak = (await make_credential(world.db, reader.key, scopes=("transfers:read",))).api_key
    path = "/account/{}/pix_transfer/{}/cancel"
    pairs = ((reader.account.key, uuid4()), (neighbours.own.keys["account_key"], neighbours.own.keys["ted_key"]))
    said = [masked(await world.call("PATCH", path.format(*pair), key=weak)) for pair in pairs]
    assert said[0] == said[1]
    assert said[0][0] == 401


# What of redemptions names no id: fixed words, and lists of the back office, which is bound to no campaign.
OPEN_WORDS = {
    "side",
    "offset",
    "limit",
    "_offset",
    "_limit",
    "version",
    "status",
    "kind",
    "start_date",
    "end_date",
    "page",
}
CALLERS = ("operator", "application", "impersonator", "participant")


@pytest.fixture(scope="module")
async def clubhouses(redemptions: RedemptionStage) -> tuple[Clubhouse, Clubhouse]:
    return await make_clubhouse(redemptions), await make_clubhouse(redemptions)


def redeemed(stage: RedemptionStage) -> Iterator[tuple[Route, list[str]]]:
    """Every route of redemptions, and who may call it."""
    for route in stage.routes:
        access = route.access
        if access is None:  # access tokens, and what is published of them
            assert route.path.startswith(("/oauth2/", "/.well-known/")), route.path
            continue
        assert route.request is None or route.empty_body or f"{route.method} {route.path}" in BODIES, route.path
        yield route, [caller for caller in CALLERS if getattr(access, caller) is not None]


def club_combinations(route: Route, caller: str, home: Clubhouse, other: Mapping[str, str]) -> Iterator[Any]:
    """What is another's beside what is nobody's: each id alone, then all together.

    The back office is bound to no campaign: for it only ids below one of its own are another's.
    """
    names = [name for name in _PARAMETER.findall(route.path) if name not in OPEN_WORDS]
    if caller == "operator":
        names = names[1:] if len(names) > 1 else []
    for chosen in [*([name] for name in names), *([names] if len(names) > 1 else [])]:
        if any(home.keys[name] != other[name] for name in chosen):
            yield {name: other[name] for name in chosen}, {name: unknown_of(name) for name in chosen}


def unknown_of(name: str) -> str:
    words = {"campaign_id": f"c-{uuid4().hex[:8]}", "login": "ninguem", "document": "52998224725"}
    return words.get(name) or str(uuid4())


def club_masked(reply: Reply, *ids: str) -> tuple[int, list[tuple[str, str]], str]:
    """An answer without the ids that were asked for."""
    status, headers, text = masked(reply)
    for key in ids:
        text = text.replace(key, "<key>")
    return status, headers, text


async def test_every_id_of_a_path_of_redemptions(
    redemptions: RedemptionStage, clubhouses: tuple[Clubhouse, Clubhouse]
) -> None:
    """Another campaign's id, and to a participant another participant's, answers like one that nobody has."""
    own, foreign = clubhouses
    before, differences, asked = await club_snapshot(redemptions), [], 0
    for route, callers in redeemed(redemptions):
        for caller in callers:
            strangers = [foreign.keys]
            if caller in ("impersonator", "participant"):
                strangers.append(own.neighbours_keys)
            for other in strangers:
                for theirs, nobodys in club_combinations(route, caller, own, other):
                    said = [
                        club_masked(
                            await own.send(caller, route.method, own.path(route.path, **ids), route.path), *ids.values()
                        )
                        for ids in (theirs, nobodys)
                    ]
                    asked += 1
                    # Once a phone was active, an application may touch none, whosever it is (redemptions.md §7.4.5).
                    is_closed = caller == "impersonator" and [*theirs] == ["device_id"]
                    if said[0] != said[1] or said[0][0] != (403 if is_closed else 404):
                        differences.append((caller, route.method, route.path, [*theirs], [each[::2] for each in said]))
    assert differences == []
    assert asked >= 60
    assert await club_snapshot(redemptions) == before


async def test_every_filter_of_redemptions(
    redemptions: RedemptionStage, clubhouses: tuple[Clubhouse, Clubhouse]
) -> None:
    """A list asked for another's id is as empty as one asked for nobody's."""
    own, foreign = clubhouses
    differences, asked = [], 0
    for route, callers in redeemed(redemptions):
        for name in (parameter.name for parameter in route.query if parameter.name not in OPEN_WORDS):
            for caller in (each for each in callers if each != "operator"):
                path, answers = own.path(route.path), []
                for value in (foreign.keys[name], unknown_of(name)):
                    query = f"{path}?{name}={value.replace('+', '%2B')}"
                    answers.append(club_masked(await own.send(caller, route.method, query, route.path), value))
                asked += 1
                if answers[0] != answers[1]:
                    differences.append((caller, route.path, name, [each[::2] for each in answers]))
    assert differences == []
    assert asked >= 5


async def test_lists_of_redemptions_hold_nothing_of_another(
    redemptions: RedemptionStage, clubhouses: tuple[Clubhouse, Clubhouse]
) -> None:
    own, foreign = clubhouses
    leaks, lists = [], 0
    for route, callers in redeemed(redemptions):
        if route.method != "GET":
            continue
        for caller in (each for each in callers if each != "operator"):
            query = "?limit=100" if any(parameter.name == "limit" for parameter in route.query) else ""
            reply = await own.send(caller, "GET", own.path(route.path) + query, route.path)
            assert reply.status == 200, (caller, route.path, reply.body)
            lists += 1
            strangers = {key for name, key in foreign.keys.items() if name not in OPEN_WORDS}
            if caller in ("impersonator", "participant"):
                strangers |= {
                    own.neighbours_keys[name] for name in ("participant", "purchase_id", "order_id", "device_id")
                }
            leaks += [(caller, route.path, key) for key in strangers if key in reply.body.decode()]
    assert leaks == []
    assert lists >= 25


async def test_ids_of_another_campaign_in_bodies_and_headers_are_nobodys(
    redemptions: RedemptionStage, clubhouses: tuple[Clubhouse, Clubhouse]
) -> None:
    own, foreign = clubhouses
    before = await club_snapshot(redemptions)
    acting, reversal = own.callers["impersonator"], f"/orders/{own.keys['order_id']}/reversals"
    cases: list[tuple[str, Any, str, str]] = [("participantid", None, foreign.keys["participant"], str(uuid4()))]
    cases += [("customerId", None, foreign.keys["campaign_id"], "c-0")]
    for header, _, theirs, nobodys in cases:
        said = [
            masked(await redemptions.call("GET", "/participants/me", headers={**acting, header: value}))
            for value in (theirs, nobodys)
        ]
        assert said[0] == said[1] and said[0][0] in (400, 404)
    items = {"executeTotalRefund": False, "refundType": 1, "refundMotiveId": 5}
    said = [
        masked(
            await redemptions.call(
                "POST",
                reversal,
                {**items, "orderItems": [{"orderItemId": key, "refundQuantity": 1}]},
                headers=own.callers["operator"],
            )
        )
        for key in (foreign.keys["item_id"], own.neighbours_keys["item_id"], str(uuid4()))
    ]
    assert said[0] == said[1] == said[2] and said[0][0] == 404
    assert await club_snapshot(redemptions) == before


async def test_credentials_of_one_campaign_open_nothing_of_another(
    redemptions: RedemptionStage, clubhouses: tuple[Clubhouse, Clubhouse]
) -> None:
    """An API key with another campaign's subscription key is nobody; a participant's token works at home alone."""
    own, foreign = clubhouses
    before = await club_snapshot(redemptions)
    for caller in ("application", "participant", "impersonator"):
        mixed = {
            **own.callers[caller],
            "ocp-apim-subscription-key": foreign.callers[caller]["ocp-apim-subscription-key"],
        }
        for route, callers in redeemed(redemptions):
            if caller in callers:
                reply = await redemptions.call(route.method, own.path(route.path), headers=mixed)
                assert (reply.status, reply.code) == (401, "GDF000014"), (caller, route.method, route.path, reply.body)
    assert await club_snapshot(redemptions) == before


async def test_tokens_open_only_the_purchase_they_were_made_for(
    redemptions: RedemptionStage, clubhouses: tuple[Clubhouse, Clubhouse]
) -> None:
    """The right token of another purchase, another participant or another campaign is a wrong one, and used nowhere."""
    own, foreign = clubhouses
    mine, mine_too = [await own.member.bought(a_purchase(10)) for _ in range(2)]
    sources = [(own.member, mine_too), (own.neighbour, own.neighbours_keys["purchase_id"])]
    sources += [(foreign.member, foreign.keys["purchase_id"])]
    for buyer, purchase in sources:
        key = purchase if isinstance(purchase, str) else purchase["id"]
        reply = await own.member.validate(mine, await buyer.token({"id": key}))
        assert (reply.status, reply.code) == (400, "RDM000084")
    rows = await redemptions.fetch(
        "select operation_id::text, count(*) from comparisons where operation_id = any($1::uuid[]) group by 1",
        [UUID(mine["id"]), UUID(mine_too["id"]), UUID(foreign.keys["purchase_id"])],
    )
    assert rows == [(mine["id"], 3)]


async def club_snapshot(stage: RedemptionStage) -> dict[str, str]:
    """A digest of every table, whatever it holds."""
    tables = [name for (name,) in await stage.fetch("select tablename from pg_tables where schemaname = 'aval'")]
    union = " union all ".join(
        f"select '{table}', md5(coalesce(string_agg(t::text, '\n' order by t::text), '')) from aval.{table} t"
        for table in tables
        if not table.startswith("schema_")
    )
    return dict(await stage.fetch(union))
