"""Acting for a participant: the headers, and what they are held against (redemptions.md §7.4)."""

import re
from collections.abc import Iterator, Sequence
from uuid import UUID

import msgspec

from aval.domain.caller import Caller
from aval.domain.errors import Refusal
from aval.domain.ids import parse_uuid
from aval.http.edge import Access, Call
from aval.storage.redeemers import Identified, KnownParticipant

PARTICIPANT, CATALOG, CUSTOMER, IMPERSONATOR = "participantid", "catalogId", "customerId", "impersonatorUser"
USERNAME = "username"
HEADERS = (PARTICIPANT, CATALOG, CUSTOMER, IMPERSONATOR, USERNAME)
_AS_SENT = {name: name.lower() for name in HEADERS}
SENT_HEADERS = tuple(_AS_SENT.values())
_IMPERSONATOR_USER = re.compile(r"[ -~]{1,128}")


def is_impersonating(call: Call) -> bool:
    """Whether a call has any of the headers."""
    return any(name in call.headers for name in SENT_HEADERS)


def meant_participants(call: Call) -> Sequence[UUID]:
    """The participant the headers name; nobody if the id is malformed, which is an unknown one then."""
    key = parse_uuid(_header(call, PARTICIPANT) or "")
    return () if key is None else (key,)


def impersonated(caller: Caller, call: Call, found: Identified, access: Access) -> Caller:
    """The caller with its participant; refuses missing headers, an unknown participant, and what does not fit."""
    needed = HEADERS if access.is_username_needed else HEADERS[:-1]
    missing = [name for name in needed if not _header(call, name)]
    if missing:
        raise _refusal(missing)
    participant = next(iter(found.participants.values()), None)  # only those that the headers mean were looked up
    if participant is None:
        raise Refusal("rdm.participant_not_found")
    unfit = list(_unfit(call, found, participant))
    if unfit:
        raise _refusal(unfit)
    user = _header(call, IMPERSONATOR)
    return msgspec.structs.replace(
        caller, actor=f"{caller.actor}/{user}", participant_key=participant.key, impersonator_user=user
    )


def refuse_headers_of_participant(call: Call) -> None:
    """Refuse a participant token together with headers that speak for a participant."""
    given = [name for name in HEADERS if _AS_SENT[name] in call.headers]
    if given:
        raise _refusal(given)


def _unfit(call: Call, found: Identified, participant: KnownParticipant) -> Iterator[str]:
    if _header(call, CATALOG) != participant.catalog_id:
        yield CATALOG
    if _header(call, CUSTOMER) not in (found.campaign.campaign_id, found.campaign.client_id):
        yield CUSTOMER
    if not _IMPERSONATOR_USER.fullmatch(_header(call, IMPERSONATOR) or ""):
        yield IMPERSONATOR
    if (_header(call, USERNAME) or participant.username) != participant.username:
        yield USERNAME


def _header(call: Call, name: str) -> str | None:
    """A header as text: what was sent as UTF-8 is read so, for a log-in may be any text."""
    text = call.headers.get(_AS_SENT[name])
    return text if text is None or text.isascii() else text.encode("latin-1").decode("utf-8", "replace")


def _refusal(headers: Sequence[str]) -> Refusal:
    return Refusal("rdm.impersonation_headers", extra_fields={"headers": list(headers)})
