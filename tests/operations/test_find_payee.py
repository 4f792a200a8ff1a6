"""Who a Pix key belongs to: the rail's word, or the key itself when the rail says nothing."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

import pytest

from aval.domain.keyring import KeyMissing
from aval.operations import find_payee as module
from aval.operations.find_payee import ASKED_AT_ONCE_MAX, find_payee, find_payees
from aval.ports import PayeeFound, RailAnswer, RailSilent, RailTarget, SettlementOrder
from tests.factories import Party, SandboxRails, make_keyring
from tests.http.test_rail import make_core
from tests.stage import Stage

OWNER = {
    "account_branch": "0001",
    "account_number": "1234567",
    "account_digit": "8",
    "account_type": "checking_account",
    "ispb": "87654321",
    "owner_document_number": "52998224725",
    "owner_name": "Maria Souza",
}


@dataclass
class Directory:
    """A rail that knows one answer to every look-up, and who asked; the registry of itself too."""

    found: PayeeFound | None | Exception
    targets: list[RailTarget] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def rail_of(self, target: RailTarget) -> "Directory":
        self.targets.append(target)
        return self

    async def find_pix_key(self, pix_key: str) -> PayeeFound | None:
        self.asked.append(pix_key)
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    async def settle(self, order: SettlementOrder) -> RailAnswer:
        raise AssertionError

    query = settle


async def ask(stage: Stage, party: Party, rails, pix_key: str, account_key=None):
    integrator = (await party.principal(stage.db)).integrator
    return await find_payee(
        stage.parts.db,
        rails,
        make_keyring(),
        integrator=integrator,
        account_key=account_key or party.account.key,
        pix_key=pix_key,
    )


async def test_the_sandbox_knows_every_key_but_two(stage: Stage, party: Party):
    payee = await ask(stage, party, SandboxRails(), "52998224725")
    assert (payee.name, payee.document, payee.target_pix_key) == ("Favorecido Teste", "52998224725", "52998224725")
    assert payee.institution_name == "Banco Teste" and payee.target_account["ispb"] == "87654321"
    assert await ask(stage, party, SandboxRails(), "nao.existe@example.com") is None
    silent = await ask(stage, party, SandboxRails(), "sem.resposta@example.com")
    assert (silent.name, silent.document, silent.target_account) == ("sem.resposta@example.com", None, None)


@pytest.mark.parametrize(
    ("found", "name"),
    [(PayeeFound(OWNER, None), "Maria Souza"), (RailSilent(), "maria@example.com")],
)
async def test_a_core_is_asked_under_its_own_secret(stage: Stage, found, name: str):
    core = await make_core(stage)
    directory = Directory(found)
    payee = await ask(stage, core.party, directory, "maria@example.com")
    assert payee.name == name and payee.target_pix_key == "maria@example.com"
    (target,) = directory.targets
    assert (target.url, target.secret) == ("https://core.example.com/aval", core.secret)
    assert core.secret not in repr(target)


async def test_a_core_is_not_asked_for_an_account_that_does_not_exist(stage: Stage):
    core, directory = await make_core(stage), Directory(None)
    payee = await ask(stage, core.party, directory, "maria@example.com", account_key=uuid4())
    assert payee.name == "maria@example.com" and directory.asked == []


async def test_a_secret_that_cannot_be_opened_is_not_passed_over(stage: Stage):
    core = await make_core(stage)
    await stage.execute(
        "update integrators set rail_secret_sealed = '\\x046e6f6e6500' where integrator_id = $1", core.party.key
    )
    with pytest.raises(KeyMissing):
        await ask(stage, core.party, Directory(None), "maria@example.com")


@dataclass
class SlowDirectory(Directory):
    """One that answers on the next turn, but for the keys it never answers; knows how many ask at once."""

    never: frozenset[str] = frozenset()
    asking: int = 0
    asking_most: int = 0

    async def find_pix_key(self, pix_key: str) -> PayeeFound | None:
        self.asking += 1
        self.asking_most = max(self.asking_most, self.asking)
        await (asyncio.Event().wait() if pix_key in self.never else asyncio.sleep(0))
        self.asking -= 1
        return await super().find_pix_key(pix_key)


async def ask_all(stage: Stage, party: Party, rails, pix_keys, account_key=None):
    integrator = (await party.principal(stage.db)).integrator
    return await find_payees(
        stage.parts.db,
        rails,
        make_keyring(),
        integrator=integrator,
        account_key=account_key or party.account.key,
        pix_keys=pix_keys,
    )


async def test_many_keys_are_each_answered_as_one_alone(stage: Stage, party: Party):
    keys = ["52998224725", "nao.existe@example.com", "sem.resposta@example.com"]
    found = await ask_all(stage, party, SandboxRails(), keys)
    assert found == {key: await ask(stage, party, SandboxRails(), key) for key in keys}
    assert await ask_all(stage, party, SandboxRails(), []) == {}


async def test_no_more_keys_than_the_limit_are_asked_at_once_and_each_only_once(stage: Stage, party: Party):
    keys = {f"p{number}@example.com" for number in range(3 * ASKED_AT_ONCE_MAX)}
    directory = SlowDirectory(PayeeFound(OWNER, None))
    found = await ask_all(stage, party, directory, keys)
    assert {payee.target_pix_key for payee in found.values()} == keys and set(found) == keys
    assert (sorted(directory.asked), directory.asking_most) == (sorted(keys), ASKED_AT_ONCE_MAX)
    assert len(directory.targets) == 1


async def test_what_is_not_answered_in_the_time_of_all_keys_is_its_own_payee(stage: Stage, party: Party, monkeypatch):
    monkeypatch.setattr(module, "LOOKUPS_TIMEOUT", timedelta(milliseconds=50))
    directory = SlowDirectory(PayeeFound(OWNER, None), never=frozenset({"never@example.com"}))
    found = await ask_all(stage, party, directory, ["never@example.com", "maria@example.com"])
    assert {key: payee.name for key, payee in found.items()} == {
        "never@example.com": "never@example.com",
        "maria@example.com": "Maria Souza",
    }


async def test_a_core_is_asked_for_no_key_of_an_account_that_does_not_exist(stage: Stage):
    core, directory = await make_core(stage), Directory(None)
    found = await ask_all(stage, core.party, directory, ["maria@example.com"], account_key=uuid4())
    assert found["maria@example.com"].name == "maria@example.com" and directory.asked == []
