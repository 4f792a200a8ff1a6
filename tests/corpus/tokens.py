"""§4.1: what a token may look like, what uses an attempt, and where a token has no place."""

from uuid import UUID

import pytest

from tests.corpus.asking import (
    APPROVED,
    EXCEEDED,
    EXPIRED,
    INCORRECT,
    INVALID,
    KINDS,
    REQUIRED,
    SCHEMA,
    SYNTAX,
    ask,
    written,
)
from tests.factories import make_party
from tests.proof.cases import values
from tests.proof.cases.household import Household
from tests.proof.cases.trial import TABLES_OF_A_GUESS, trial_of
from tests.world import World


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_no_token(world: World, home: Household, kind: str) -> None:
    key = await world.request(home.party, kind)
    before, template = await world.snapshot(), f"/account/{{account_key}}/{kind}/{key}/validate_token"
    with trial_of(world, at_least=35) as trial:
        for text in values.NO_TOKENS:
            call = ask(world, home, "PUT", template, f'{{"token":{text}}}'.encode())
            await trial.refused(text, call, *SCHEMA, text.strip('"'))
        for text in values.NO_TOKEN_AT_ALL:
            await trial.refused(text, ask(world, home, "PUT", template, text.encode()), 400, REQUIRED[kind])
        call = ask(world, home, "PUT", template, b'{"token":"\\ud80032912"}')
        await trial.refused("lone surrogate", call, *SYNTAX)
        await trial.unchanged(before)


@pytest.mark.parametrize("kind", KINDS)
async def test_friendly_spellings_are_the_token(world: World, home: Household, kind: str) -> None:
    template = f"/account/{{account_key}}/{kind}/{{}}/validate_token"
    with trial_of(world, at_least=4) as trial:
        for spelling in [*values.SPACES, '"lower {}"', '"look-alikes {}"']:
            key = await world.request(home.party, kind)
            token = await world.token(home.party, key)
            if "look" in spelling:
                token = token if kind.startswith("ted") else token.translate(str.maketrans("01", "OI"))
            elif "lower" in spelling:
                token = token.lower()
            text = spelling.replace("lower ", "").replace("look-alikes ", "").format(token)
            path = template.format(key, account_key=home.keys["account_key"])
            call = world.call("PUT", path, key=home.party.api_key, raw=f'{{"token":{text}}}'.encode())
            await trial.accepted(spelling, call, APPROVED[kind])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_well_formed_wrong_token_uses_one_attempt(world: World, home: Household, kind: str) -> None:
    stranger = await make_party(world.db)
    other, foreign = await world.request(home.party, kind), await world.request(stranger, kind)
    theirs = [await world.token(home.party, other), await world.token(stranger, foreign)]
    with trial_of(world, at_least=8) as trial:
        for guess in ["000000", "UUUUUU", "uuuuuu", "abcdef", "9Z9Z9Z", *theirs]:
            key = await world.request(home.party, kind)
            before = await world.snapshot()
            reply = await trial.refused(guess, world.validate(home.party, kind, key, guess), 400, INCORRECT[kind])
            trial.expect(guess, reply.json["extra_fields"], {})
            await trial.unchanged(before, guess, besides=frozenset(TABLES_OF_A_GUESS))
            rows = await world.fetch("select verdict from comparisons where operation_id = $1", key)
            trial.expect(guess, [row["verdict"] for row in rows], ["wrong"])
        key = await _with_two_generations(world, home, kind)
        call = world.validate(home.party, kind, key, await world.token(home.party, key, 1))
        reply = await trial.refused("superseded", call, 400, INCORRECT[kind])
        trial.expect("superseded", reply.json["extra_fields"], {"reason": "superseded_token"})
        (row,) = await world.fetch("select verdict, generation from comparisons where operation_id = $1", key)
        trial.expect("superseded", tuple(row), ("superseded", 2))


async def _with_two_generations(world: World, home: Household, kind: str) -> UUID:
    key = await world.request(home.party, kind)
    await world.advance(key, 40)
    path = f"/account/{home.keys['account_key']}/{kind}/{key}/resend_token"
    assert (await world.call("PATCH", path, key=home.party.api_key)).status == 202
    return key


@pytest.mark.parametrize("kind", KINDS)
async def test_the_fifth_wrong_token_ends_the_operation(world: World, home: Household, kind: str) -> None:
    with trial_of(world, at_least=12) as trial:
        key = await _with_two_generations(world, home, kind)
        superseded, right = await world.token(home.party, key, 1), await world.token(home.party, key)
        for _ in range(4):
            await trial.refused("1-4", world.validate(home.party, kind, key, "UUUUUU"), 400, INCORRECT[kind])
        fifth = await trial.refused("5", world.validate(home.party, kind, key, superseded), 400, EXCEEDED[kind])
        shown = fifth.json["extra_fields"][f"{kind}_data"]
        trial.expect("snapshot", (shown[f"{kind}_key"], shown[f"{kind}_status"]), (str(key), "rejected"))
        before = await world.snapshot()
        for token in (right, superseded, "UUUUUU"):
            await trial.refused("after", world.validate(home.party, kind, key, token), 400, EXCEEDED[kind], token)
        path = f"/account/{home.keys['account_key']}/{kind}/{key}"
        call = world.call("PATCH", f"{path}/resend_token", key=home.party.api_key)
        await trial.refused("resend", call, 400, EXCEEDED[kind])
        call = world.call("PATCH", f"{path}/cancel", key=home.party.api_key)
        await trial.refused("cancel", call, *INVALID[kind])
        await trial.unchanged(before)
        right_at_last = await world.request(home.party, kind)
        for _ in range(4):
            await trial.refused("1-4", world.validate(home.party, kind, right_at_last, "UUUUUU"), 400, INCORRECT[kind])
        call = world.validate(home.party, kind, right_at_last, await world.token(home.party, right_at_last))
        await trial.accepted("the fifth is right", call, APPROVED[kind])


@pytest.mark.parametrize("kind", KINDS)
async def test_tokens_that_are_not_compared(world: World, home: Household, kind: str) -> None:
    """Expired, cancelled, approved, its window over: right, superseded and wrong ones alike, and no attempt is used."""
    with trial_of(world, at_least=16) as trial:
        for happening in ("expired", "cancelled", "approved", "window over"):
            key = await _with_two_generations(world, home, kind)
            tokens = [await world.token(home.party, key), await world.token(home.party, key, 1), "UUUUUU"]
            path = f"/account/{home.keys['account_key']}/{kind}/{key}"
            status, code = (400, EXPIRED[kind]) if happening == "expired" else INVALID[kind]
            match happening:
                case "expired":
                    await world.advance(key, 300)
                case "cancelled":
                    await trial.accepted(happening, world.call("PATCH", f"{path}/cancel", key=home.party.api_key), 200)
                case "approved":
                    await trial.accepted(happening, world.validate(home.party, kind, key, tokens[0]), APPROVED[kind])
                case "window over":
                    await world.advance(key, 3_600)
                    await trial.refused(happening, world.validate(home.party, kind, key, tokens[0]), status, code)
            before = await world.snapshot()
            for token in tokens:
                await trial.refused(happening, world.validate(home.party, kind, key, token), status, code, token)
            if happening != "expired":
                call = world.call("PATCH", f"{path}/resend_token", key=home.party.api_key)
                await trial.refused(happening, call, status, code)
            await trial.unchanged(before, happening)


async def test_a_token_in_the_wrong_place(world: World, home: Household) -> None:
    before = await world.snapshot()
    with trial_of(world, at_least=50) as trial:
        for method, template in written(world):
            for name in ("token", "TOKEN", "%74oken", "to%6ben", "+token", "a=b&token"):
                path = f"{home.path(template)}?{name}=7K3M9Q"
                call = world.call(method, path, key=home.credential(template), raw=b"")
                await trial.refused((template, name), call, 400, "QIT000400", "7K3M9Q")
        for kind in KINDS:
            path = home.path(f"/account/{{account_key}}/{kind}/{{{kind}_key}}/validate_token")
            for method in ("GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"):
                call = world.call(method, path, key=home.party.api_key, raw=b'{"token":"7K3M9Q"}')
                await trial.refused(method, call, 405, "QIT000940", "7K3M9Q")
        await trial.unchanged(before)
