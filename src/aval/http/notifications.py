"""Message templates of an integrator, and the events whose messages they word (transfers.md §7.3)."""

from base64 import b64decode, b64encode
from typing import Any, Literal
from uuid import UUID

import msgspec

from aval.domain.errors import schema_refusal
from aval.domain.template import (
    SUBJECT_CHARACTERS_MAX,
    TEMPLATE_EMAIL_BYTES_MAX,
    TEMPLATE_SMS_CHARACTERS_MAX,
    ChannelName,
    MessageTemplate,
)
from aval.http.edge import Answer, Call, QueryParameter, Route, json_answer
from aval.http.fields import author_of, key_of, text_of, uuid_of
from aval.http.paging import PAGING, Listing, listing, page_of
from aval.http.parts import Parts
from aval.http.strict_json import decode
from aval.operations.configure_template import configure_template
from aval.operations.create_template import create_template
from aval.storage.templates import TemplateConfiguration, list_configurations, list_templates

TEMPLATE = "/notification/template"
CONFIGURATION = "/notification/template_configuration"
SCOPE = "notifications:write"
QUERY = (*PAGING, QueryParameter("order_by", "choice", ("asc", "desc")))


class TemplateBody(msgspec.Struct, forbid_unknown_fields=True):
    """A new template: the text of an SMS, or subject and HTML (base64 of UTF-8) of an e-mail."""

    template_type: Literal["sms", "email"]
    template: str
    subject: str | None = None


class TemplateMade(msgspec.Struct):
    """A new template."""

    template_key: str


class TemplateAnswer(msgspec.Struct):
    """A template as it was sent."""

    template_key: str
    template_type: Literal["sms", "email"]
    template_status: Literal["active"]
    subject: str | None
    template: str


class ConfigurationBody(msgspec.Struct, forbid_unknown_fields=True):
    """The templates of an event, one at least."""

    event_type: str
    sms_template_key: str | None = None
    email_template_key: str | None = None


class ConfigurationMade(msgspec.Struct):
    """A new configuration."""

    template_configuration_key: str


class ConfigurationChanged(msgspec.Struct):
    """Nothing more to tell."""


class ConfigurationAnswer(msgspec.Struct):
    """The keys of an event's templates; null where the default text is used."""

    event_type: str
    sms_template: str | None
    email_template: str | None
    template_configuration_key: str


def _route(method: str, path: str, handler: Any, success: int, summary: str, **options: Any) -> Route:
    return Route(method, path, handler, SCOPE, "integrator", "qit", success, summary, **options)


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    calls = Templates(app)
    made: dict[str, Any] = {"request": TemplateBody, "response": TemplateMade, "refusals": ("pmb.invalid_template",)}
    configured: dict[str, Any] = {
        "request": ConfigurationBody,
        "refusals": (
            "pmb.configuration_exists",
            "pmb.invalid_notification",
            "pmb.invalid_template",
            "pmb.template_not_found",
        ),
    }
    replaced = configured | {"response": ConfigurationChanged}
    templates: dict[str, Any] = {"response": Listing[TemplateAnswer], "query": QUERY}
    configurations: dict[str, Any] = {"response": Listing[ConfigurationAnswer], "query": QUERY}
    return [
        _route("POST", TEMPLATE, calls.create, 201, "Make a message template", **made),
        _route("GET", TEMPLATE + "s", calls.list_all, 200, "List message templates", **templates),
        _route(
            "POST",
            CONFIGURATION,
            calls.configure,
            201,
            "Choose the templates of an event",
            response=ConfigurationMade,
            **configured,
        ),
        _route(
            "GET", CONFIGURATION + "s", calls.list_configured, 200, "List the templates of events", **configurations
        ),
        _route(
            "PUT",
            CONFIGURATION + "/{template_configuration_key}",
            calls.reconfigure,
            201,
            "Choose other templates of an event",
            **replaced,
        ),
    ]


class Templates:
    """Handlers of templates and their configurations."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def create(self, call: Call) -> Answer:
        """POST /notification/template."""
        key = await create_template(
            self._app.db,
            integrator_key=call.caller.integrator.key,
            template=_template_of(decode(call.body, TemplateBody)),
            author=author_of(call),
        )
        return json_answer(201, TemplateMade(str(key)))

    async def list_all(self, call: Call) -> Answer:
        """GET /notification/templates."""
        page = page_of(call)
        async with self._app.db.connection() as connection:
            rows = await list_templates(
                connection,
                call.caller.integrator.key,
                is_newest_first=call.query.get("order_by") == "desc",
                offset=page.offset,
                limit=page.limit,
            )
        return json_answer(200, listing(page, rows, _template))

    async def configure(self, call: Call) -> Answer:
        """POST /notification/template_configuration."""
        return json_answer(201, ConfigurationMade(str(await self._configure(call, None))))

    async def reconfigure(self, call: Call) -> Answer:
        """PUT /notification/template_configuration/{template_configuration_key}."""
        await self._configure(call, key_of(call, "template_configuration_key"))
        return json_answer(201, {})

    async def _configure(self, call: Call, configuration_key: UUID | None) -> UUID:
        body = decode(call.body, ConfigurationBody)
        return await configure_template(
            self._app.db,
            integrator_key=call.caller.integrator.key,
            configuration_key=configuration_key,
            event_type=body.event_type.strip(" "),
            template_keys=_template_keys_of(body),
            author=author_of(call),
        )

    async def list_configured(self, call: Call) -> Answer:
        """GET /notification/template_configurations."""
        page = page_of(call)
        async with self._app.db.connection() as connection:
            rows = await list_configurations(
                connection,
                call.caller.integrator.key,
                is_newest_first=call.query.get("order_by") == "desc",
                offset=page.offset,
                limit=page.limit,
            )
        return json_answer(200, listing(page, rows, _configuration))


def _template_of(body: TemplateBody) -> MessageTemplate:
    if body.template_type == "sms":
        if body.subject is not None:
            raise schema_refusal(("subject", "invalid_value"))
        return MessageTemplate("sms", text_of(body.template, "template", characters_max=TEMPLATE_SMS_CHARACTERS_MAX))
    if body.subject is None:
        raise schema_refusal(("subject", "missing"))
    subject = text_of(body.subject, "subject", characters_max=SUBJECT_CHARACTERS_MAX)
    return MessageTemplate("email", _html_of(body.template), subject)


def _html_of(text: str) -> str:
    try:
        content = b64decode(text.strip(" "), validate=True)
        if not 0 < len(content) <= TEMPLATE_EMAIL_BYTES_MAX:
            raise ValueError
        return content.decode()
    except ValueError:  # no base64, or no UTF-8
        raise schema_refusal(("template", "invalid_value")) from None


def _template_keys_of(body: ConfigurationBody) -> dict[ChannelName, UUID]:
    keys: dict[ChannelName, UUID] = {}
    if body.sms_template_key is not None:
        keys["sms"] = uuid_of(body.sms_template_key, "sms_template_key")
    if body.email_template_key is not None:
        keys["email"] = uuid_of(body.email_template_key, "email_template_key")
    if not keys:
        raise schema_refusal(("sms_template_key", "missing"), ("email_template_key", "missing"))
    return keys


def _template(row: tuple[UUID, MessageTemplate]) -> TemplateAnswer:
    key, template = row
    body = template.body if template.channel == "sms" else b64encode(template.body.encode()).decode()
    return TemplateAnswer(str(key), template.channel, "active", template.subject, body)


def _configuration(configuration: TemplateConfiguration) -> ConfigurationAnswer:
    return ConfigurationAnswer(
        event_type=configuration.event_type,
        sms_template=_text_of(configuration.sms_key),
        email_template=_text_of(configuration.email_key),
        template_configuration_key=str(configuration.key),
    )


def _text_of(key: UUID | None) -> str | None:
    return None if key is None else str(key)
