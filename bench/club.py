"""The campaign that purchases and uploads are measured in: many participants, and no budgets, as in sandbox mode."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from msgspec.structs import replace

from aval.domain.campaign import Campaign, CampaignData, RiskLimits, TwoFactorPolicy
from aval.domain.keyring import Keyring
from aval.domain.masks import masked_phone
from aval.domain.participant import Email, NewParticipant, Participant, Profile
from aval.domain.phone import PhoneDevice, PhoneStatus
from aval.domain.points import EntryType, PointsEntry
from aval.operations.change_policy import change_policy
from aval.operations.create_application import NewApplication, create_application
from aval.operations.create_campaign import create_campaign
from aval.operations.create_participant import create_participant
from aval.operations.fresh import fresh_key, new_authorization_code, new_cpf, sealed
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.phones import insert_phone, lock_number, write_phones
from aval.storage.points import post_entries
from bench.world import AUTHOR, World

PARTICIPANTS = 1_000
POINTS = 10**11
VENDOR = "loja-sol"
SCOPES = ("redemptions.read", "redemptions.write", "impersonate", "onboarding.write")
POLICY = TwoFactorPolicy(
    enabled=True,
    token_alphabet="digits",
    document_policy="none",
    required_documents=("identity",),
    risk=RiskLimits(max_pending_purchases=None),
)


@dataclass(frozen=True)
class Club:
    """A campaign, the application that calls, and participants who can redeem."""

    campaign: Campaign
    application: NewApplication = field(repr=False)
    participants: Sequence[Participant] = field(repr=False)

    def headers(self, number: int) -> dict[str, str]:
        """The application acts for a participant, counted round."""
        person = self.participants[number % len(self.participants)]
        return {
            "Authorization": f"Bearer {self.application.api_key}",
            "Ocp-Apim-Subscription-Key": self.application.subscription_key,
            "participantid": str(person.key),
            "catalogId": person.catalog_id,
            "customerId": self.campaign.campaign_id,
            "impersonatorUser": "bench",
            "username": person.username,
        }


async def make_club(world: World) -> Club:
    """Make all of it."""
    db, keyring = world.db, world.keyring
    data = CampaignData(
        campaign_id="bench",
        client_id="bench",
        name="Bench",
        mode="sandbox",
        catalogs={"gold": "Ouro"},
        vendors={VENDOR: "Loja Sol"},
    )
    campaign = (await create_campaign(db, data=data, author=AUTHOR)).campaign
    version = await change_policy(db, campaign_id="bench", expected_version=1, policy=POLICY, author=AUTHOR)
    campaign = replace(campaign, policy=POLICY, policy_version=version.version)
    application = await create_application(
        db,
        campaign=campaign,
        name="Bench",
        scopes=SCOPES,
        webhook_url=None,
        calls_per_minute=None,
        keyring=keyring,
        author=AUTHOR,
    )
    people = [await _participant(db, campaign, keyring, number) for number in range(PARTICIPANTS)]
    async with db.transaction() as connection:
        await _fill(connection, campaign, keyring, people)
    async with db.connection() as connection:
        # Only what is filled: an empty table that was analysed is planned as if it stayed empty.
        await connection.execute("analyze approvers, participants, points_accounts, phone_devices, contacts, campaigns")
    return Club(campaign, application, people)


async def _participant(db: Database, campaign: Campaign, keyring: Keyring, number: int) -> Participant:
    person = NewParticipant(
        external_id=None,
        name="Ana",
        username=f"ana.{number}",
        document_number=new_cpf(),
        person_type="INDIVIDUAL",
        status="ACTIVE",
        catalog_id="gold",
        profile=Profile(emails=(Email("ana@example.com"),)),
    )
    made = await create_participant(db, campaign=campaign, person=person, keyring=keyring, author=AUTHOR)
    return made.participant


async def _fill(connection: Connection, campaign: Campaign, keyring: Keyring, people: Sequence[Participant]) -> None:
    """A proven phone and points for each, as if all had been onboarded before."""
    now = await read_clock(connection)
    for number, person in enumerate(people):
        await _phone(connection, campaign, keyring, person, f"+55119{80000000 + number}", now)
    entries = [_credit(campaign.key, person.key, now) for person in people]
    assert len(await post_entries(connection, entries)) == len(entries)


async def _phone(
    connection: Connection, campaign: Campaign, keyring: Keyring, person: Participant, number: str, now: datetime
) -> None:
    key, number_index = fresh_key(), keyring.index_of(number)
    await lock_number(connection, campaign.key, number_index)
    device = PhoneDevice(
        integrator_key=campaign.key,
        key=key,
        participant_key=person.key,
        number_index=number_index,
        masked_number=masked_phone(number),
        status=PhoneStatus.PENDING_VERIFICATION,
        policy_version=campaign.policy_version,
        created_at=now,
        updated_at=now,
    )
    await insert_phone(connection, device, number_sealed=sealed(keyring, number, associated=f"contacts/{key}"))
    active = replace(device, status=PhoneStatus.ACTIVE, verified_at=now, active_from=now)
    await write_phones(connection, [(device, active)])


def _credit(tenant_key: UUID, participant_key: UUID, now: datetime) -> PointsEntry:
    return PointsEntry(
        integrator_key=tenant_key,
        participant_key=participant_key,
        key=fresh_key(),
        entry_type=EntryType.CREDIT,
        points=POINTS,
        authorization_code=new_authorization_code(),
        description="Bench",
        correlation_id="bench",
        created_at=now,
    )
