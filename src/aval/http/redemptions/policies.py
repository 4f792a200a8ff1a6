"""The policy of a campaign's second factor: read by all of the campaign, written by the operator alone (§2)."""

from typing import Annotated

import msgspec
from msgspec import Meta

from aval.domain.calendar import wire_datetime
from aval.domain.campaign import PolicyVersion, TwoFactorPolicy
from aval.domain.errors import schema_refusal
from aval.domain.redemption_message import template_problem
from aval.http.edge import ANY_SCOPE, Access, Answer, Call, QueryParameter, Route, json_answer
from aval.http.fields import author_of, text_of
from aval.http.parts import Parts
from aval.http.redemptions.campaigns import CAMPAIGN, NOT_FOUND, known_id, readable_campaign
from aval.http.redemptions.route import redemption_route, unknown
from aval.http.strict_json import decode
from aval.operations.change_policy import change_policy
from aval.storage.policies import find_policy

POLICY = CAMPAIGN + "/two_factor"
VERSION_DIGITS_MAX = 9
TEMPLATE_CHARACTERS_MAX = 160  # of the message, as the type says
Version = Annotated[int, Meta(ge=1, le=10**VERSION_DIGITS_MAX)]


class PolicyBody(TwoFactorPolicy, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole policy, and the version its writer has seen; what is not given takes its default."""

    expected_version: Version


class PolicyAnswer(TwoFactorPolicy, frozen=True, kw_only=True):
    """One version of the policy."""

    version: int
    changed_by: str
    changed_at: str


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    calls = Policies(app)
    version = QueryParameter("version", description="a former version; without it the current one")
    return [
        redemption_route(
            "GET",
            POLICY,
            calls.read,
            Access(ANY_SCOPE, application="policy.read"),
            200,
            "Read a campaign's two-factor policy",
            response=PolicyAnswer,
            query=(version,),
            refusals=(NOT_FOUND,),
        ),
        redemption_route(
            "PUT",
            POLICY,
            calls.replace,
            Access("policy.write"),
            200,
            "Replace a campaign's two-factor policy",
            request=PolicyBody,
            response=PolicyAnswer,
            refusals=(NOT_FOUND, "rdm.policy_version_conflict"),
        ),
    ]


class Policies:
    """Handlers of the policy."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def read(self, call: Call) -> Answer:
        """GET /campaigns/{id}/two_factor."""
        number, stored = _version_of(call), await readable_campaign(self._app, call)
        async with self._app.db.reading() as connection:
            found = await find_policy(connection, stored.campaign.key, number)
        if found is None:
            raise unknown(NOT_FOUND, "policy_version")
        return json_answer(200, _policy(found))

    async def replace(self, call: Call) -> Answer:
        """PUT /campaigns/{id}/two_factor."""
        body = decode(call.body, PolicyBody)
        values = {name: getattr(body, name) for name in TwoFactorPolicy.__struct_fields__}
        version = await change_policy(
            self._app.db,
            campaign_id=known_id(call),
            expected_version=body.expected_version,
            policy=_checked(TwoFactorPolicy(**values)),
            author=author_of(call),
        )
        return json_answer(200, _policy(version))


def _checked(policy: TwoFactorPolicy) -> TwoFactorPolicy:
    """Refuse what a type cannot: a subset that names something twice, and a template that makes no message."""
    for name in ("applies_to", "required_documents"):
        chosen = getattr(policy, name)
        if len(set(chosen)) < len(chosen):
            raise schema_refusal((name, "duplicate"))
    template = text_of(policy.message_template, "message_template", characters_max=TEMPLATE_CHARACTERS_MAX)
    problem = template_problem(template)
    if problem is not None:
        raise schema_refusal(("message_template", problem.reason))
    return msgspec.structs.replace(policy, message_template=template)


def _version_of(call: Call) -> int | None:
    text = call.query.get("version")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= VERSION_DIGITS_MAX):
        raise schema_refusal(("version", "invalid_value"))
    return int(text)


def _policy(version: PolicyVersion) -> PolicyAnswer:
    return PolicyAnswer(
        **msgspec.structs.asdict(version.policy),
        version=version.version,
        changed_by=version.changed_by,
        changed_at=wire_datetime(version.changed_at),
    )
