"""What a participant token says, under the names its campaign gave the claims (redemptions.md §7.3)."""

from collections.abc import Sequence
from uuid import UUID

from aval.domain.ids import parse_uuid
from aval.domain.jwt import BadJwt, UnverifiedJwt, check_claims
from aval.storage.redeemers import Identified

NAMED_MAX = 64  # ids of a token that are looked up; which claim counts is known only after it


def participants_named(jwt: UnverifiedJwt) -> Sequence[UUID]:
    """Every id a token holds, so that one look-up finds campaign and participant."""
    ids = (parse_uuid(value) for value in jwt.claims.values() if isinstance(value, str))
    return list(dict.fromkeys(each for each in ids if each is not None))[:NAMED_MAX]


def participant_meant(jwt: UnverifiedJwt, found: Identified) -> UUID:
    """The participant of a token whose signature is good; raises BadJwt for another issuer, audience or campaign."""
    assert found.oidc is not None
    check_claims(jwt.claims, issuer=found.oidc.issuer, audience=found.oidc.audience, now=found.now)
    names, campaign = found.oidc.claims, found.campaign
    if jwt.claims.get(names.campaign_id) != campaign.campaign_id:
        raise BadJwt
    if jwt.claims.get(names.client_id, campaign.client_id) != campaign.client_id:
        raise BadJwt
    told = jwt.claims.get(names.participant_id)
    participant_key = parse_uuid(told) if isinstance(told, str) else None
    if participant_key is None:
        raise BadJwt
    return participant_key
