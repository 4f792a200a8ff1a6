"""A participant with phones, as tests of security devices play them."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from aval.domain.campaign import Campaign
from aval.domain.challenge import TokenSource
from aval.domain.token import TokenSeed
from aval.operations.create_application import NewApplication
from aval.operations.fresh import new_phone
from aval.storage.requests import read_operation
from tests.factories import Reply, make_keyring
from tests.redemption_stage import Headers, Person, RedemptionStage
from tests.stage import wrong


@dataclass
class Owner:
    """A participant, through the application that sends their tokens."""

    stage: RedemptionStage = field(repr=False)
    campaign: Campaign
    application: NewApplication = field(repr=False)
    person: Person

    @classmethod
    async def make(
        cls,
        stage: RedemptionStage,
        campaign: Campaign | None = None,
        application: NewApplication | None = None,
        **policy: Any,
    ) -> "Owner":
        """A participant of a campaign of their own, unless one is given; `policy` is put in force first."""
        campaign = campaign or await stage.campaign()
        if policy:
            await stage.policy(campaign, **policy)
        application = application or await stage.application(campaign)
        return cls(stage, campaign, application, await stage.participant(campaign))

    @property
    def headers(self) -> Headers:
        return self.stage.as_participant(self.application, self.campaign, self.person)

    async def ask(self, method: str, path: str, body: Any = None, **more: str) -> Reply:
        return await self.stage.call(method, f"/participants/me/devices{path}", body, headers=self.headers, **more)

    async def register(self, number: str | None = None) -> Reply:
        return await self.ask("POST", "", {"type": "phone", "number": new_phone() if number is None else number})

    async def validate(self, device: Any, token: str | None = None, **more: str) -> Reply:
        """With the live token, unless another one is given."""
        token = await self.token(device) if token is None else token
        return await self.ask("PUT", f"/{key_of(device)}/validate_token", {"token": token}, **more)

    async def wrong(self, device: Any) -> Reply:
        return await self.validate(device, wrong(await self.token(device)))

    async def resend(self, device: Any, **more: str) -> Reply:
        return await self.ask("PUT", f"/{key_of(device)}/resend_token", **more)

    async def remove(self, device: Any) -> Reply:
        return await self.ask("DELETE", f"/{key_of(device)}")

    async def activate(self, number: str | None = None) -> dict[str, Any]:
        """Register and prove a phone, with the former one's token if there is one."""
        device = await self.register(number)
        assert device.status == 202, device.body
        proven = await self.validate(device)
        if proven.status == 202:
            proven = await self.validate(device)
        assert proven.status == 201, proven.body
        return dict(proven.json)

    async def operate(self, device: Any, act: str, reason: str = "perdido") -> Reply:
        path = f"/devices/{key_of(device)}/{act}"
        return await self.stage.call("POST", path, {"reason": reason}, headers=await self.stage.operator())

    async def operation(self, device: Any) -> UUID:
        """The operation the device waits for, or waited for last."""
        return UUID(
            str(
                await self.stage.value(
                    "select coalesce(replacement_id, device_id) from phone_devices where device_id = $1",
                    key_of(device),
                )
            )
        )

    async def token(self, device: Any, generation: int | None = None) -> str:
        """The token of a device's operation, the live one unless another generation is asked for."""
        return await token_of(self.stage, self.campaign.key, await self.operation(device), generation)

    async def shift(self, device: Any, by: timedelta) -> None:
        """Let time pass for the operation of a device, by its rows."""
        await self.stage.execute(
            "update challenges set issued_at = issued_at - $2::interval, expires_at = expires_at - $2::interval,"
            " can_resend_at = can_resend_at - $2::interval, approval_deadline = approval_deadline - $2::interval"
            " where operation_id = $1",
            await self.operation(device),
            by,
        )

    async def status(self, device: Any) -> tuple[str, str | None]:
        """Status and failure reason as they are stored."""
        (row,) = await self.stage.fetch(
            "select status, failure_reason from phone_devices where device_id = $1", key_of(device)
        )
        return row[0], row[1]

    async def events(self, device: Any) -> list[str]:
        """What applications are told of a device, in its order."""
        rows = await self.stage.fetch(
            "select event_type, sequence from events where operation_id = $1 order by sequence", key_of(device)
        )
        assert [sequence for _, sequence in rows] == list(range(1, len(rows) + 1))
        return [event_type for event_type, _ in rows]

    async def acts(self, device: Any) -> list[str]:
        """What the audit says was done to a device."""
        rows = await self.stage.fetch(
            "select action from audit where details ->> 'key' = $1 and action like 'device.%' order by at, audit_id",
            str(key_of(device)),
        )
        return [action for (action,) in rows]

    async def notices(self, device: Any) -> list[str]:
        rows = await self.stage.fetch(
            "select payload ->> 'notice' from outbox where contact_id = $1 and topic = 'notice' order by created_at",
            key_of(device),
        )
        return [notice for (notice,) in rows]


def key_of(device: Any) -> UUID:
    """The id of a device: of an answer, of its body, or as it is."""
    if isinstance(device, Reply):
        device = device.json
    return UUID(device["id"]) if isinstance(device, dict) else UUID(str(device))


async def token_of(stage: RedemptionStage, tenant: UUID, operation: UUID, generation: int | None = None) -> str:
    """A token of an operation of a campaign, derived as the worker does."""
    async with stage.db.connection() as connection:
        found = await read_operation(connection, tenant, operation)
    assert found is not None
    transfer, challenge = found
    seed = TokenSeed(transfer.integrator_key, transfer.key, transfer.details_digest, transfer.nonce)
    return TokenSource(make_keyring(), seed).token(challenge, generation or challenge.generation).text
