"""The API of redemptions over a database, and what a test needs to play each who calls it.

Fixtures: `redemptions` (shared by a module's tests; bring a campaign of your own), `own_redemptions` (a fresh
database), `issuer` (the OIDC issuer every campaign of the stage trusts).
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from os import getpid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import pytest

from aval.channels.outbound import OutboundHttp
from aval.decoder.sandbox import SandboxedDecoder
from aval.domain.caller import APPLICATION_SCOPES, BACK_OFFICE_SCOPES
from aval.domain.campaign import Campaign, CampaignData, OidcSettings
from aval.domain.participant import Email, NewParticipant, Participant, Profile
from aval.http.app import App, build_app
from aval.http.edge import Route
from aval.http.parts import Parts
from aval.http.redemptions import features
from aval.operations.create_admin_key import create_admin_key
from aval.operations.create_application import NewApplication, create_application
from aval.operations.create_campaign import create_campaign
from aval.operations.create_participant import create_participant
from aval.operations.fresh import new_cpf
from aval.operations.store_file import FileKeeper
from aval.storage.database import Database
from aval.storage.document_store import DocumentStore, StoreAddress
from tests.conftest import run, with_database
from tests.contract import Contract
from tests.factories import AUTHOR, Client, Reply, make_keyring, make_parts, numbers
from tests.oidc_issuer import Issuer, issuing

Headers = dict[str, str]


@dataclass(frozen=True)
class Person:
    """A participant and what the campaign knows them by."""

    participant: Participant
    document_number: str

    @property
    def key(self) -> UUID:
        return self.participant.key


@dataclass
class RedemptionStage:
    """`db` acts as superuser, `app` under the API's role; `faults` gathers what no answer should have been."""

    db: Database = field(repr=False)
    parts: Parts = field(repr=False)
    routes: list[Route] = field(repr=False)
    app: App = field(repr=False)
    issuer: Issuer = field(repr=False)
    contract: Contract = field(repr=False)
    faults: list[str] = field(default_factory=list)

    async def campaign(self, **change: Any) -> Campaign:
        """A campaign, in sandbox mode unless told otherwise, with catalogue `gold`, two vendors and the issuer."""
        number = next(numbers)
        data = {
            "campaign_id": f"campanha-{number}",
            "client_id": f"loja-{number}",
            "name": "Clube Exemplo",
            "mode": "sandbox",
            "status": "active",
            "catalogs": {"gold": "Ouro", "silver": "Prata"},
            "vendors": {"loja-sol": "Loja Sol", "viagens": "Viagens"},
            "locale": "pt-BR",
            "timezone": "America/Sao_Paulo",
            "oidc": OidcSettings(**self.issuer.oidc),
        }
        return (await create_campaign(self.db, data=CampaignData(**data | change), author=AUTHOR)).campaign

    async def policy(self, campaign: Campaign, **change: Any) -> Reply:
        """Put a policy in force through the API; members that are not given take their defaults."""
        operator = await self.operator()
        path = f"/campaigns/{campaign.campaign_id}/two_factor"
        version = (await self.call("GET", path, headers=operator)).json["version"]
        reply = await self.call("PUT", path, {"expected_version": version, **change}, headers=operator)
        assert reply.status == 200, reply.body
        return reply

    async def application(
        self,
        campaign: Campaign,
        *,
        scopes: Sequence[str] = APPLICATION_SCOPES,
        calls_per_minute: int | None = None,
        webhook_url: str | None = None,
    ) -> NewApplication:
        """An application with all scopes unless told otherwise."""
        return await create_application(
            self.db,
            campaign=campaign,
            name="Aplicativo",
            scopes=scopes,
            webhook_url=webhook_url,
            calls_per_minute=calls_per_minute,
            keyring=make_keyring(),
            author=AUTHOR,
        )

    async def participant(self, campaign: Campaign, **change: Any) -> Person:
        """An active participant of the catalogue `gold`, without device, documents or points."""
        document = change.pop("document_number", None) or new_cpf()
        person = {
            "external_id": None,
            "name": "Helena Prado Martins",
            "username": f"helena.{next(numbers)}",
            "document_number": document,
            "person_type": "INDIVIDUAL",
            "status": "ACTIVE",
            "catalog_id": "gold",
            "profile": Profile(emails=(Email("helena@example.com"),)),
        }
        made = await create_participant(
            self.db,
            campaign=campaign,
            person=NewParticipant(**person | change),
            keyring=make_keyring(),
            author=AUTHOR,
        )
        return Person(made.participant, document)

    async def operator(self, *scopes: str) -> Headers:
        """Headers of the back office, with all its scopes unless some are named."""
        _, secret = await create_admin_key(
            self.db,
            name=f"operator {next(numbers)}",
            scopes=scopes or BACK_OFFICE_SCOPES,
            keyring=make_keyring(),
            author=AUTHOR,
        )
        return {"authorization": f"Bearer {secret}"}

    def as_application(self, application: NewApplication) -> Headers:
        """Headers of an application by itself."""
        return {
            "authorization": f"Bearer {application.api_key}",
            "ocp-apim-subscription-key": application.subscription_key,
        }

    def as_impersonator(self, application: NewApplication, campaign: Campaign, person: Person) -> Headers:
        """Headers of an application that acts for a participant."""
        return self.as_application(application) | {
            "participantid": str(person.key),
            "catalogId": person.participant.catalog_id,
            "customerId": campaign.campaign_id,
            "impersonatorUser": "atendente-22",
            "username": person.participant.username,
        }

    def as_participant(self, application: NewApplication, campaign: Campaign, person: Person, **token: Any) -> Headers:
        """Headers of a participant; `token` changes what the issuer says (`Issuer.token`)."""
        said = {
            "custom__client_id": campaign.client_id,
            "custom__catalog_id": person.participant.catalog_id,
            "username": person.participant.username,
        }
        signed = self.issuer.token(person.key, campaign.campaign_id, **said | token)
        return {"authorization": f"Bearer {signed}", "ocp-apim-subscription-key": application.subscription_key}

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Headers | None = None,
        raw: bytes | None = None,
        **more: str,
    ) -> Reply:
        """One request; its answer is held against the document. `more` are headers written with underscores."""
        sent = {name.lower(): text for name, text in (headers or {}).items()}
        sent |= {name.replace("_", "-"): text for name, text in more.items()}
        reply = await Client(self.app)(method, path, body, raw=raw, **sent)
        found = self.contract.faults(method, path, reply)
        if reply.status >= 500:
            found.append("server error")
        self.faults += [f"{method} {path} -> {reply.status} {reply.code}: {fault}" for fault in found]
        return reply

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        async with self.db.connection() as connection:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]

    async def value(self, query: str, *arguments: object) -> Any:
        async with self.db.connection() as connection:
            return await connection.fetchval(query, *arguments)

    async def execute(self, statement: str, *arguments: object) -> str:
        async with self.db.connection() as connection:
            return await connection.execute(statement, *arguments)


def reason_of(reply: Reply) -> str:
    """The reason in an error's body."""
    return str(json.loads(reply.body)["extra_fields"]["reason"])


@asynccontextmanager
async def make_redemption_stage(
    dsn: str, issuer: Issuer, *, more_features: Sequence[str] = ()
) -> AsyncIterator[RedemptionStage]:
    """Build it over a migrated database; leaving judges what was answered. `more_features` are names in `aval.http`."""
    db, api_db = await Database.open(dsn), await Database.open(dsn, role="aval_app_api")
    outbound = OutboundHttp([], is_local_allowed=True)
    directory = TemporaryDirectory(prefix="aval-documents-")
    try:
        store = DocumentStore(StoreAddress(Path(directory.name, "documents").as_uri()))
        files = FileKeeper(api_db, store, SandboxedDecoder(), None)
        parts = replace(make_parts(api_db), outbound=outbound, files=files)
        routes = features.routes(parts)
        routes += [route for name in more_features for route in import_module(f"aval.http.{name}").routes(parts)]
        stage = RedemptionStage(db, parts, routes, build_app(parts, [routes]), issuer, Contract(routes))
        yield stage
        assert sorted(set(stage.faults)) == []
    finally:
        directory.cleanup()
        await outbound.close()
        await db.close()
        await api_db.close()


@pytest.fixture(scope="session")
async def issuer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Issuer]:
    """The issuer; a test that rotates its keys or lets it fail makes one of its own (`issuing`)."""
    async with issuing(Path(tmp_path_factory.mktemp("issuer"))) as made:
        yield made


@pytest.fixture(scope="module")
async def redemptions(postgres_dsn: str, template: str, issuer: Issuer) -> AsyncIterator[RedemptionStage]:
    """One for all tests of a module; a test brings a campaign of its own and looks at nothing else."""
    name = f"aval_test_{getpid()}_{uuid4().hex[:8]}"
    await run(postgres_dsn, f"create database {name} template {template}")
    try:
        async with make_redemption_stage(with_database(postgres_dsn, name), issuer) as made:
            yield made
    finally:
        await run(postgres_dsn, f"drop database {name} with (force)")


@pytest.fixture
async def own_redemptions(dsn: str, issuer: Issuer) -> AsyncIterator[RedemptionStage]:
    """One over a fresh database."""
    async with make_redemption_stage(dsn, issuer) as made:
        yield made
