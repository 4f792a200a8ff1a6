"""Proof of AD1: each action needs its scope, and a credential of one kind reaches nothing of another.

Generated from the table of routes, so a new route is held as well. Ids in paths are unknown and bodies empty, so that
an action that is let through changes nothing either: it is told from one that is refused by its answer.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest

from aval.domain.caller import APPLICATION_SCOPES, BACK_OFFICE_SCOPES
from aval.http.edge import ANY_SCOPE, Route
from aval.operations.create_admin_key import create_admin_key
from tests.conftest import run, with_database
from tests.factories import AUTHOR, Reply, make_admin_key, make_credential, make_keyring, make_party
from tests.oidc_issuer import Issuer
from tests.redemption_stage import Headers, RedemptionStage, make_redemption_stage
from tests.redemption_stage import issuer as issuer
from tests.world import FEATURES

pytestmark = pytest.mark.proof

OTHER_FEATURES = [name for name in FEATURES if name != "sandbox"]  # the sandbox of campaigns has the same paths
ADMIN_SCOPE = "transfers.admin"
INTEGRATOR_SCOPES = (
    *("transfers:write", "transfers:read", "devices:write"),
    *("notifications:write", "webhooks:write", "sandbox"),
)
EMPTY = {"POST": {}, "PUT": {}, "PATCH": {}}
WORDS = {"participant": "me", "campaign_id": "none", "side": "single"}


@pytest.fixture(scope="module")
async def deployment(postgres_dsn: str, template: str, issuer: Issuer) -> AsyncIterator[RedemptionStage]:
    """Every route of the API over one database."""
    name = f"aval_test_roles_{uuid4().hex[:8]}"
    await run(postgres_dsn, f"create database {name} template {template}")
    try:
        async with make_redemption_stage(
            with_database(postgres_dsn, name), issuer, more_features=OTHER_FEATURES
        ) as made:
            yield made
    finally:
        await run(postgres_dsn, f"drop database {name} with (force)")


def bearer(secret: str) -> Headers:
    return {"authorization": f"Bearer {secret}"}


async def ask(stage: RedemptionStage, route: Route, headers: Headers) -> Reply:
    """Call a route with unknown ids and, where it takes a body, an empty one."""
    parameters = {name: WORDS.get(name, str(uuid4())) for name in _names_of(route.path)}
    return await stage.call(route.method, route.path.format(**parameters), EMPTY.get(route.method), headers=headers)


def _names_of(path: str) -> Iterator[str]:
    return (part[1:-1] for part in path.split("/") if part.startswith("{"))


def is_refused(reply: Reply) -> bool:
    """Whether the caller was told that it may not, rather than anything of what it asked for."""
    return reply.code in ("GDF000003", "GDF000014", "GDF000018", "RDM000917", "RDM000918", "103")


def back_office(stage: RedemptionStage) -> list[tuple[Route, str]]:
    """Every action of the back office, and the scope it needs."""
    routes = [(route, route.scope or "") for route in stage.routes if route.audience == "admin"]
    redeemed = [(route, route.access.operator) for route in stage.routes if route.access is not None]
    return routes + [(route, scope) for route, scope in redeemed if scope is not None]


async def test_each_action_of_the_back_office_needs_its_scope(deployment: RedemptionStage) -> None:
    scopes = (ADMIN_SCOPE, *BACK_OFFICE_SCOPES)
    keys = {scope: await _admin_key(deployment, scope) for scope in scopes}
    bypasses, asked = [], 0
    for route, needed in back_office(deployment):
        for scope in scopes:
            may = scope == needed or (needed == ANY_SCOPE and scope != ADMIN_SCOPE)
            reply = await ask(deployment, route, keys[scope])
            asked += 1
            if is_refused(reply) is may:
                bypasses.append((route.method, route.path, scope, reply.status, reply.code))
    print(f"roles: {asked} combinations of action and scope of the back office")
    assert bypasses == []
    assert asked >= 500


async def _admin_key(stage: RedemptionStage, scope: str) -> Headers:
    if scope == ADMIN_SCOPE:
        return bearer(await make_admin_key(stage.db))
    return await stage.operator(scope)


async def test_each_call_of_an_application_or_participant_needs_its_scope(deployment: RedemptionStage) -> None:
    campaign = await deployment.campaign()
    person = await deployment.participant(campaign)
    bypasses, asked = [], 0
    for scope in APPLICATION_SCOPES:
        alone = await deployment.application(campaign, scopes=[scope])
        acting = await deployment.application(campaign, scopes=sorted({scope, "impersonate"}))
        callers = {
            "application": deployment.as_application(alone),
            "impersonator": deployment.as_impersonator(acting, campaign, person),
            "participant": deployment.as_participant(alone, campaign, person),
        }
        for route in (route for route in deployment.routes if route.access is not None):
            for caller, headers in callers.items():
                needed = getattr(route.access, caller)
                if caller == "impersonator" and needed is None:
                    continue  # taken as the application it is
                reply = await ask(deployment, route, headers)
                asked += 1
                may = needed in (scope, ANY_SCOPE, *(("impersonate",) if caller == "impersonator" else ()))
                if is_refused(reply) is may and not _is_closed(route, caller, reply):
                    bypasses.append((caller, route.method, route.path, scope, reply.status, reply.code))
    print(f"roles: {asked} combinations of call and scope of applications and participants")
    assert bypasses == []
    assert asked >= 500


def _is_closed(route: Route, caller: str, reply: Reply) -> bool:
    """Writing devices and documents of another is closed to all but `onboarding.write` (redemptions.md §7.4.5)."""
    return caller == "impersonator" and reply.code == "RDM000917"


async def test_a_credential_of_one_kind_reaches_nothing_of_another(deployment: RedemptionStage) -> None:
    """Whatever its scopes: integrators, applications, participants, the back office, nobody, and a revoked key."""
    stage = deployment
    party = await make_party(stage.db)
    credential = await make_credential(stage.db, party.key, scopes=INTEGRATOR_SCOPES)
    campaign = await stage.campaign()
    application, person = await stage.application(campaign), await stage.participant(campaign)
    everything = await _everything_key(stage)
    of_application = stage.as_application(application)
    subscription = {"ocp-apim-subscription-key": application.subscription_key}
    strangers: dict[str, list[tuple[str, Headers]]] = {
        "admin": [
            ("integrator", bearer(credential.api_key or "")),
            ("application", of_application),
            ("participant", stage.as_participant(application, campaign, person)),
            ("nobody", {}),
        ],
        "integrator": [
            ("back office", everything),
            ("application", of_application),
            ("participant", stage.as_participant(application, campaign, person)),
            ("nobody", {}),
        ],
        "redemption": [
            ("integrator", bearer(credential.api_key or "")),
            ("integrator with a subscription", bearer(credential.api_key or "") | subscription),
            ("back office of transfers", bearer(await make_admin_key(stage.db))),
            ("application without its subscription", bearer(application.api_key)),
            ("subscription alone", subscription),
            ("nobody", {}),
        ],
    }
    before, bypasses, asked = await _counted(stage), [], 0
    for route in stage.routes:
        if route.audience == "redemption" and route.access is None:
            continue  # access tokens and what is published of them
        for name, headers in strangers.get(route.audience, []):
            reply = await ask(stage, route, headers)
            asked += 1
            if not is_refused(reply):
                bypasses.append((name, route.method, route.path, reply.status, reply.code))
    print(f"roles: {asked} combinations of route and foreign credential")
    assert bypasses == []
    assert asked >= 300
    assert await _counted(stage) == before


async def _everything_key(stage: RedemptionStage) -> Headers:
    _, secret = await create_admin_key(
        stage.db,
        name=f"everything {uuid4().hex[:8]}",
        scopes=(ADMIN_SCOPE, *BACK_OFFICE_SCOPES),
        keyring=make_keyring(),
        author=AUTHOR,
    )
    return bearer(secret)


async def _counted(stage: RedemptionStage) -> dict[str, Any]:
    """How many rows each table holds."""
    tables = await stage.fetch("select table_name from information_schema.tables where table_schema = 'aval'")
    return {name: await stage.value(f"select count(*) from aval.{name}") for (name,) in sorted(tables)}
