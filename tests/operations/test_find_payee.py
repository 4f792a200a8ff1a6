"""Who a Pix key belongs to: the rail's word, or the key itself when the rail says nothing."""

from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from aval.domain.keyring import KeyMissing
from aval.operations.find_payee import find_payee
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
