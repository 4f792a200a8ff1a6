"""Campaigns with an application over an app of campaigns, policies, participants and points, every answer judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aval.domain.caller import APPLICATION_SCOPES, BACK_OFFICE_SCOPES
from aval.domain.campaign import CampaignData
from aval.http.app import App, build_app
from aval.http.redemptions import campaigns, participants, points, policies
from aval.operations.create_admin_key import create_admin_key
from aval.operations.create_application import NewApplication, create_application
from aval.operations.create_campaign import create_campaign
from aval.operations.fresh import new_cpf
from aval.storage.campaigns import StoredCampaign
from aval.storage.database import Database
from tests.contract import Contract
from tests.factories import AUTHOR, Client, Reply, make_keyring, make_parts

FEATURES = (campaigns, policies, participants, points)


@dataclass
class Club:
    """A campaign, its application, and an operator with every scope."""

    db: Database = field(repr=False)  # of the API
    app: App = field(repr=False)
    contract: Contract = field(repr=False)
    stored: StoredCampaign
    application: NewApplication = field(repr=False)
    operator_key: str = field(repr=False)

    @classmethod
    async def make(cls, api: Database, *, scopes: Sequence[str] = APPLICATION_SCOPES, **data: Any) -> "Club":
        parts = make_parts(api)
        features = [feature.routes(parts) for feature in FEATURES]
        values: dict[str, Any] = {"campaign_id": f"c-{uuid4().hex[:12]}", "client_id": "cliente-1", "name": "Clube Sol"}
        values |= {"catalogs": {"gold": "Ouro", "blue": "Azul"}, "vendors": {"loja-sol": "Loja Sol"}}
        stored = await create_campaign(api, data=CampaignData(**values | data), author=AUTHOR)
        application = await create_application(
            api,
            campaign=stored.campaign,
            name="Loja",
            scopes=scopes,
            webhook_url=None,
            calls_per_minute=None,
            keyring=make_keyring(),
            author=AUTHOR,
        )
        contract = Contract([route for feature in features for route in feature])
        return cls(api, build_app(parts, features), contract, stored, application, await operator_key(api))

    @property
    def id(self) -> str:
        return self.stored.campaign.campaign_id

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """As the operator, unless the headers say otherwise."""
        sent = {"authorization": f"Bearer {self.operator_key}"} | headers
        reply = await Client(self.app, None)(method, path, body, raw=None, **sent)
        assert self.contract.faults(method, path, reply) == []
        return reply

    async def apply(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """As the application by itself."""
        return await self.ask(method, path, body, **self.application_headers | headers)

    async def act(self, person: Mapping[str, Any], method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """As the application for a participant."""
        impersonation = {
            "participantid": person["id"],
            "catalogid": person["segment"]["catalog_id"],
            "customerid": self.id,
            "impersonatoruser": "atendente-22",
            "username": person["username"],
        }
        return await self.apply(method, path, body, **impersonation | headers)

    @property
    def application_headers(self) -> dict[str, str]:
        return {
            "authorization": f"Bearer {self.application.api_key}",
            "ocp_apim_subscription_key": self.application.subscription_key,
        }

    async def enter(self, **change: Any) -> dict[str, Any]:
        """A participant, entered by the application."""
        reply = await self.apply("POST", "/participants", a_person(**change))
        assert reply.status == 201, reply.body
        return dict(reply.json)


def a_person(**change: Any) -> dict[str, Any]:
    """A body of `POST /participants`; a member of None is left out."""
    body = {
        "external_id": "LOJA-7781",
        "name": "Helena Prado Martins",
        "username": f"helena.{uuid4().hex[:8]}",
        "document_number": new_cpf(),
        "person_type": "INDIVIDUAL",
        "status": "ACTIVE",
        "catalog_id": "gold",
        "emails": [{"email": "helena@example.com", "type": "PERSONAL"}],
    }
    return {name: value for name, value in (body | change).items() if value is not None}


async def operator_key(api: Database, *scopes: str) -> str:
    """An admin key with these scopes, or with all of redemptions."""
    _, secret = await create_admin_key(
        api, name=uuid4().hex, scopes=scopes or BACK_OFFICE_SCOPES, keyring=make_keyring(), author=AUTHOR
    )
    return secret
