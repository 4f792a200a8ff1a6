"""§4.10: credentials, signatures, rights, and what is not one's own."""

import json
import re
from uuid import uuid4

from aval.operations.create_credential import SCOPES
from tests.corpus.asking import (
    NOT_ALLOWED,
    PREFIX,
    created,
    good,
    written,
)
from tests.factories import make_credential, make_party
from tests.proof.cases.household import SESSIONS, Household, body_of
from tests.proof.cases.trial import trial_of
from tests.signing import new_signing_key, pem_of, signed_headers
from tests.world import World


async def test_credentials_that_open_nothing(world: World, home: Household) -> None:
    before = await world.snapshot()
    key = home.party.api_key
    shapes: list[tuple[dict[str, str], tuple[int, str]]] = [
        *(
            ({"authorization": text}, (400, "GDF000003"))
            for text in ("", "Basic dXNlcjpwdw==", key, "Bearer", "Bearer ")
        ),
        *(
            ({"authorization": f"Bearer {text}"}, (401, "GDF000014"))
            for text in (f"{key}x", f"{key} {key}", "x", "é", "null")
        ),
        ({"authorization": f"Bearer {key[:-1]}{'A' if key[-1] != 'A' else 'B'}"}, (401, "GDF000014")),
        ({"api-client-key": "x", "authorization": "x"}, (404, "GDF000018")),
        ({"api-client-key": str(uuid4()), "authorization": "x"}, (404, "GDF000018")),
    ]
    with trial_of(world, at_least=300) as trial:
        for method, template in written(world):
            raw = json.dumps(body_of(home, method, template) or {}).encode()
            raw = b"" if method in ("GET", "DELETE") else raw
            if template.startswith(SESSIONS):
                continue
            for headers, (status, code) in shapes:
                if template.startswith("/admin") and "api-client-key" in headers:
                    status, code = 400, "GDF000003"
                named = {name.replace("-", "_"): text for name, text in headers.items()}
                call = world.call(method, home.path(template), key=None, raw=raw, **named)
                await trial.refused((method, template, headers), call, status, code, *headers.values())
            call = world.call(method, home.path(template), key=None, raw=raw)
            await trial.refused((method, template, "no header"), call, 400, "GDF000003")
        await trial.unchanged(before)


async def test_signed_requests_that_were_not_signed_so(world: World, home: Household) -> None:
    """The shapes §4.10 names; `signed_requests` has all the others."""
    party = await make_party(world.db)
    signer = new_signing_key()
    credential = (await make_credential(world.db, party.key, public_key=pem_of(signer))).credential
    path, client_key = f"/account/{party.account.key}/teds", credential.api_client_key
    with trial_of(world, at_least=8) as trial:
        rightly = signed_headers(signer, client_key, "GET", path)
        named = {name.replace("-", "_"): text for name, text in rightly.items()}
        await trial.accepted("right", world.call("GET", path, key=None, **named), 200)
        await trial.refused("reused", world.call("GET", path, key=None, **named), 401, "GDF000014")
        before = await world.snapshot()
        wrong = {
            "other method": signed_headers(signer, client_key, "POST", path),
            "other path": signed_headers(signer, client_key, "GET", path + "x"),
            "other query": signed_headers(signer, client_key, "GET", path + "?page=1"),
            "another's key": signed_headers(new_signing_key(), client_key, "GET", path),
            "digest of a body": signed_headers(signer, client_key, "GET", path, b'{"a":1}'),
        }
        for note, headers in wrong.items():
            named = {name.replace("-", "_"): text for name, text in headers.items()}
            await trial.refused(note, world.call("GET", path, key=None, **named), 401, "GDF000014")
        await trial.unchanged(before)
        for body in (b'""', b"{}"):
            named = {
                name.replace("-", "_"): text
                for name, text in signed_headers(signer, client_key, "GET", path, body.strip(b'"')).items()
            }
            await trial.accepted(body, world.call("GET", path, key=None, **named), 200)


async def test_unknown_accounts_and_operations(world: World, home: Household) -> None:
    before = await world.snapshot()
    accounts = {"PXT": "PXT000004", "TED": "TED000009"}
    operations = {
        "pix_transfer": "PXT000023",
        "ted": "TED000020",
        "pix_transfer_batch": "PXT000178",
        "ted_batch": "TED000101",
    }
    of_kind = re.compile(r"/account/{account_key}/(pix_transfer_batch|pix_transfer|ted_batch|ted)(e?s)?(/.*)?")
    with trial_of(world, at_least=20) as trial:
        for method, template in written(world):
            found = of_kind.fullmatch(template)
            if found is None:
                continue
            kind = found[1]
            unknown = operations[kind]
            if kind == "ted_batch" and template.endswith("/resend_token"):
                unknown = "TED000020"  # as published
            body, key = body_of(home, method, template), home.party.api_key
            path = home.path(template, account_key=str(uuid4()))
            await trial.refused((method, path), world.call(method, path, body, key=key), 404, accounts[PREFIX[kind]])
            if f"{kind}_key" in template:
                path = home.path(template, **{f"{kind}_key": str(uuid4())})
                await trial.refused((method, path), world.call(method, path, body, key=key), 404, unknown)
        await trial.unchanged(before)


async def test_rights(world: World, home: Household) -> None:
    """A scope missing, a key revoked, an approver without powers, accounts and operations that do not match."""
    party, weak = home.party, {}
    for scope in SCOPES:
        others = tuple(other for other in SCOPES if other != scope)
        weak[scope] = (await make_credential(world.db, (await make_party(world.db)).key, scopes=others)).api_key
    before = await world.snapshot()
    with trial_of(world, at_least=30) as trial:
        for method, template in written(world):
            if not template.startswith(("/admin", *SESSIONS)):
                operation = world.contract.document["paths"][template][method.lower()]
                scope = operation["description"].removeprefix("Scope: `").removesuffix("`.")
                raw = b"" if method in ("GET", "DELETE") else json.dumps(body_of(home, method, template) or {}).encode()
                call = world.call(method, home.path(template), key=weak[scope], raw=raw)
                await trial.refused((method, template), call, 401, "GDF000014")
        await trial.unchanged(before)
        grant = f"/admin/integrators/{party.key}/accounts/{party.account.key}/approvers/{party.approver.key}"
        every = list(NOT_ALLOWED)
        others = [([other for other in every if other != kind], None, [kind]) for kind in every]
        for powers, limit, refused in [([], None, every), (every, 100, every), *others]:
            body = {"powers": powers, "max_amount": limit}
            await trial.accepted(powers, world.call("PUT", grant, body, key=home.admin_key), 200)
            for kind in refused:
                await trial.refused(powers, created(world, home, kind, good(home, kind)), 403, NOT_ALLOWED[kind])
        body = {"powers": ["pix_transfer", "pix_transfer_batch", "ted", "ted_batch"]}
        await trial.accepted("restored", world.call("PUT", grant, body, key=home.admin_key), 200)
        revoked = await make_credential(world.db, (await make_party(world.db)).key)
        await world.execute(
            "update credentials set revoked_at = clock_timestamp() where credential_id = $1", revoked.credential.key
        )
        call = world.call("GET", f"/account/{party.account.key}", key=revoked.api_key)
        await trial.refused("revoked", call, 401, "GDF000014")
