"""Change a participant, or suspend one."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from msgspec.structs import asdict, replace

from aval.domain.caller import CallerKind
from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.domain.participant import Participant, Profile, scope_missing
from aval.domain.transfer import Reason
from aval.operations.create_participant import opened_profile, refuse_catalog, sealed_profile
from aval.operations.record_act import Author, record_act
from aval.operations.reject_purchases import reject_purchases
from aval.operations.tell_onboarded import tell_onboarded
from aval.storage.campaigns import find_tenant
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.participants import StoredParticipant, lock_participant, update_participant

OWN_MEMBERS = ("name", "status", "catalog_id")  # of the row; all others are of the sealed profile
AUDITED = ("status", "catalog_id")  # of the others the audit tells the name alone


async def change_participant(
    db: Database,
    *,
    integrator_key: UUID,
    participant_key: UUID,
    changes: Mapping[str, Any],
    kind: CallerKind,
    keyring: Keyring,
    author: Author,
) -> StoredParticipant:
    """Put the given members in place of the stored ones; one that stays as it is needs no right to change it.

    A participant who becomes INACTIVE loses what waits for a token, in the same transaction; what is authorized stays.
    """
    async with db.transaction() as connection:
        stored = await lock_participant(connection, integrator_key, participant_key)
        if stored is None:
            raise Refusal("rdm.participant_not_found")
        before, profile = stored.participant, opened_profile(keyring, stored)
        if before.erased_at is not None:
            raise Refusal("rdm.wrong_status", extra_fields={"status": before.status})
        changed = _changed(before, profile, changes)
        if not changed:
            return stored
        scope = scope_missing(kind, changed)
        if scope is not None:
            raise Refusal("rdm.insufficient_scope", extra_fields={"scope": scope})
        if "catalog_id" in changed:
            await _refuse_catalog(connection, integrator_key, changed["catalog_id"])
        if changed.get("status") == "INACTIVE":
            await _suspend(connection, before, author)
        written = await _write(connection, stored, profile, changed, keyring, author)
        if "status" in changed:
            await tell_onboarded(
                connection,
                tenant_key=integrator_key,
                participant_key=participant_key,
                correlation_id=author.correlation_id,
            )
    return written


def _changed(participant: Participant, profile: Profile, changes: Mapping[str, Any]) -> dict[str, Any]:
    former = asdict(profile) | {name: getattr(participant, name) for name in OWN_MEMBERS}
    return {name: value for name, value in changes.items() if former[name] != value}


async def _refuse_catalog(connection: Connection, integrator_key: UUID, catalog_id: str) -> None:
    tenant = await find_tenant(connection, integrator_key)
    assert tenant is not None
    refuse_catalog(tenant.campaign, catalog_id)


async def _suspend(connection: Connection, participant: Participant, author: Author) -> None:
    await reject_purchases(
        connection,
        tenant_key=participant.integrator_key,
        participant_key=participant.key,
        reason=Reason.PARTICIPANT_SUSPENDED,
        actor=author.name,
        correlation_id=author.correlation_id,
    )


async def _write(
    connection: Connection,
    stored: StoredParticipant,
    profile: Profile,
    changed: Mapping[str, Any],
    keyring: Keyring,
    author: Author,
) -> StoredParticipant:
    now = await read_clock(connection)
    own = {name: value for name, value in changed.items() if name in OWN_MEMBERS}
    before = stored.participant
    after = replace(before, **own, updated_at=now)
    personal = {name: value for name, value in changed.items() if name not in OWN_MEMBERS}
    profile_sealed = sealed_profile(keyring, after, replace(profile, **personal)) if personal else stored.profile_sealed
    await update_participant(connection, after, profile_sealed=profile_sealed, at=now)
    told = [name for name in AUDITED if name in changed]
    details = {
        "changed": sorted(changed),
        "before": {name: getattr(before, name) for name in told},
        "after": {name: getattr(after, name) for name in told},
    }
    await record_act(
        connection,
        author,
        "participant.changed",
        integrator_key=after.integrator_key,
        key=after.key,
        at=now,
        details=details,
    )
    return StoredParticipant(after, stored.document_sealed, profile_sealed)
