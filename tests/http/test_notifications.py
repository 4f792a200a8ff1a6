"""Message templates over HTTP, up to the message that a sandbox approver would read."""

from base64 import b64encode
from uuid import uuid4

import pytest

from aval.domain.template import EVENT_TYPES
from tests.factories import Party, Reply, make_credential, make_party
from tests.stage import Stage, until, working
from tests.world import World

PIX, TED = "baas.token_validation.pix_transfer.single", "baas.token_validation.ted.single"
PIX_BATCH, DEVICE = "baas.token_validation.pix_transfer.batch", "baas.token_validation.device"
TEMPLATE, CONFIGURATION = "/notification/template", "/notification/template_configuration"
SMS = "[amount] p/ [payee_name], [integrator_name], codigo [generation]: [token]"
HTML = "<p>[amount] para <b>[payee_name]</b></p>\n<p>Código [generation]: [token]</p>"


def base64(text: str | bytes) -> str:
    return b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def sms(text: str = SMS) -> dict[str, str]:
    return {"template_type": "sms", "template": text}


def email(html: str = HTML, subject: str = "Código [generation]") -> dict[str, str]:
    return {"template_type": "email", "template": base64(html), "subject": subject}


class Caller:
    """One party's calls about templates."""

    def __init__(self, world: World, party: Party) -> None:
        self.world, self.party = world, party

    async def __call__(self, method: str, path: str, body: object = None) -> Reply:
        return await self.world.call(method, path, body, key=self.party.api_key)

    async def template(self, body: dict[str, str]) -> str:
        reply = await self("POST", TEMPLATE, body)
        assert reply.status == 201, reply.body
        return str(reply.json["template_key"])

    async def configure(self, event_type: str, **keys: str | None) -> Reply:
        return await self("POST", CONFIGURATION, {"event_type": event_type, **keys})


@pytest.fixture
async def call(world: World) -> Caller:
    return Caller(world, await make_party(world.db))


@pytest.fixture
async def stranger(world: World) -> Caller:
    return Caller(world, await make_party(world.db))


async def test_templates_are_listed_as_they_were_sent(call: Caller) -> None:
    first, second = await call.template(sms(f"  {SMS} ")), await call.template(email())
    rows = [
        {"template_key": first, "template_type": "sms", "template_status": "active", "subject": None, "template": SMS},
        {
            "template_key": second,
            "template_type": "email",
            "template_status": "active",
            "subject": "Código [generation]",
            "template": base64(HTML),
        },
    ]
    answer = await call("GET", f"{TEMPLATE}s")
    assert (answer.status, answer.json["data"]) == (200, rows)
    assert (await call("GET", f"{TEMPLATE}s?order_by=desc")).json["data"] == rows[::-1]
    page = (await call("GET", f"{TEMPLATE}s?page=2&page_size=1")).json
    assert (page["data"], page["pagination"]["next_page"]) == (rows[1:], None)


INVALID_TEMPLATES = [
    (sms("[amount] [valor] [token]"), "unknown_variable", "valor"),
    (sms("[amount] [payee_name]"), "token_missing", "token"),
    (sms("[token] [token]"), "token_missing", "token"),
    (sms("[token] nao repasse"), "token_not_last", "token"),
    (sms("Código [token]"), "not_gsm7", None),
    (email(subject="[token]"), "token_missing", "token"),
    (email(subject="[valor]"), "unknown_variable", "valor"),
    (email("<p>[token] [amount]</p>"), "token_not_last", "token"),
    (email("<script>x</script>[token]"), "active_content", None),
    (email("<p onclick='x'>[token]</p>"), "active_content", None),
    (email("<p style='background: url(x)'>[token]</p>"), "active_content", None),
    (email("<form>[token]</form>"), "active_content", None),
    (email("<img src='x'>[token]"), "active_content", None),
    (email("<a href='x'>[token]</a>"), "active_content", None),
    (email("\x00[token]"), "active_content", None),
]


async def test_a_template_that_is_not_valid_is_refused_with_its_reason(call: Caller) -> None:
    for body, reason, variable in INVALID_TEMPLATES:
        answer = await call("POST", TEMPLATE, body)
        assert (answer.status, answer.code) == (400, "PMB000902"), body
        assert answer.json["extra_fields"] == {"reason": reason, "variable": variable}, body
        assert answer.json["description"] == f"The template is not valid: {reason}"
    assert (await call("GET", f"{TEMPLATE}s")).json["data"] == []


MALFORMED = [
    ({}, "template_type"),
    (sms() | {"template_type": "push"}, "template_type"),
    ({"template_type": "sms"}, "template"),
    (sms("x" * 154 + "[token]"), "template"),
    (sms("a\u202eb [token]"), "template"),
    (sms("a\nb [token]"), "template"),
    (sms("  "), "template"),
    (sms() | {"subject": "Código"}, "subject"),
    (email() | {"subject": None}, "subject"),
    (email(subject=" "), "subject"),
    (email(subject="x" * 81), "subject"),
    (email(subject="a\r\nBcc: b"), "subject"),
    (email() | {"template": HTML}, "template"),
    (email() | {"template": "W3Rva2Vu"[:-1]}, "template"),
    (email() | {"template": ""}, "template"),
    (email() | {"template": base64(b"\xff[token]")}, "template"),
    (email() | {"template": base64("x" * 65_530 + "[token]")}, "template"),
    (sms() | {"template_status": "active"}, "template_status"),
]


async def test_a_template_outside_its_form_is_refused(call: Caller) -> None:
    for body, field in MALFORMED:
        answer = await call("POST", TEMPLATE, body)
        assert (answer.status, answer.code) == (400, "QIT000001"), body
        assert answer.json["extra_fields"]["errors"][0]["field"] == field, body
    assert (await call("GET", f"{TEMPLATE}s")).json["data"] == []


async def test_the_longest_templates_are_taken(call: Caller) -> None:
    assert await call.template(sms("x" * 153 + "[token]"))
    assert await call.template(email("x" * 65_529 + "[token]", "é" * 80))


async def test_an_event_is_configured_once_and_then_changed(call: Caller) -> None:
    text, html = await call.template(sms()), await call.template(email())
    made = await call.configure(PIX, sms_template_key=text.upper())
    assert (made.status, list(made.json)) == (201, ["template_configuration_key"])
    key = made.json["template_configuration_key"]
    row = {"event_type": PIX, "sms_template": text, "email_template": None, "template_configuration_key": key}
    assert (await call("GET", f"{CONFIGURATION}s")).json["data"] == [row]
    again = await call.configure(PIX, email_template_key=html)
    assert (again.status, again.code) == (400, "PMB000023")
    changed = await call("PUT", f"{CONFIGURATION}/{key}", {"event_type": PIX, "email_template_key": html})
    assert (changed.status, changed.json) == (201, {})
    row |= {"sms_template": None, "email_template": html}
    assert (await call("GET", f"{CONFIGURATION}s")).json["data"] == [row]


async def test_a_change_may_name_another_event_but_not_a_taken_one(call: Caller) -> None:
    text = await call.template(sms())
    first = (await call.configure(PIX, sms_template_key=text)).json["template_configuration_key"]
    second = (await call.configure(TED, sms_template_key=text)).json["template_configuration_key"]
    path = f"{CONFIGURATION}/{first}"
    assert (await call("PUT", path, {"event_type": TED, "sms_template_key": text})).code == "PMB000023"
    assert (await call("PUT", path, {"event_type": PIX, "sms_template_key": text})).status == 201
    rows = (await call("GET", f"{CONFIGURATION}s?order_by=desc")).json["data"]
    assert [(row["event_type"], row["template_configuration_key"]) for row in rows] == [(TED, second), (PIX, first)]


INVALID_CHOICES = [
    (PIX, "[amount] [payee_name] [item_count] [generation] [token]", "variable_not_available", "item_count"),
    (PIX_BATCH, "[amount] [payee_name] [generation] [token]", "variable_not_available", "amount"),
    (PIX, "[generation] [amount] [payee_name] [token]", "variable_missing", "payee_name"),
    (PIX, "[amount] [generation] [token]", "variable_missing", "payee_name"),
    (TED, "[amount] [payee_name] [token]", "variable_missing", "generation"),
    (PIX_BATCH, "[total] [payee_name] [generation] [token]", "variable_missing", "item_count"),
    (DEVICE, "[generation] [token]", "variable_missing", "device_name"),
    (PIX, "[amount] [payee_name] [generation] " + "x" * 118 + "[token]", "too_long", None),
]


async def test_a_template_that_does_not_fit_its_event_is_refused_with_its_reason(call: Caller) -> None:
    for event_type, text, reason, variable in INVALID_CHOICES:
        answer = await call.configure(event_type, sms_template_key=await call.template(sms(text)))
        assert (answer.status, answer.code) == (400, "PMB000902"), text
        assert answer.json["extra_fields"] == {"reason": reason, "variable": variable}, text
    assert (await call("GET", f"{CONFIGURATION}s")).json["data"] == []


async def test_the_longest_sms_that_fits_an_event_is_taken(call: Caller) -> None:
    text = "[amount] [payee_name] [generation] " + "x" * 117 + "[token]"
    assert (await call.configure(PIX, sms_template_key=await call.template(sms(text)))).status == 201


async def test_an_unknown_event_and_a_template_of_the_other_channel_are_refused(call: Caller) -> None:
    text, html = await call.template(sms()), await call.template(email())
    schedule = "baas.token_validation.ted.schedule.single"
    for event_type, keys in (
        ("bank_slip", {"sms_template_key": text}),
        (schedule, {"sms_template_key": text}),
        (PIX, {"sms_template_key": html}),
        (PIX, {"email_template_key": text}),
    ):
        answer = await call.configure(event_type, **keys)
        assert (answer.status, answer.code) == (400, "PMB000026"), event_type
    assert schedule not in EVENT_TYPES


NO_CONFIGURATION = [
    ({}, "event_type"),
    ({"event_type": PIX}, "sms_template_key"),
    ({"event_type": PIX, "sms_template_key": None}, "sms_template_key"),
    ({"event_type": PIX, "sms_template_key": "no key"}, "sms_template_key"),
    ({"event_type": PIX, "email_template_key": str(uuid4())[:-1]}, "email_template_key"),
    ({"event_type": 1, "email_template_key": str(uuid4())}, "event_type"),
    ({"event_type": PIX, "email_template_key": str(uuid4()), "webhook": True}, "webhook"),
]


async def test_a_configuration_outside_its_form_is_refused(call: Caller) -> None:
    for body, field in NO_CONFIGURATION:
        answer = await call("POST", CONFIGURATION, body)
        assert (answer.status, answer.code) == (400, "QIT000001"), body
        assert answer.json["extra_fields"]["errors"][0]["field"] == field, body


async def test_anothers_templates_and_configurations_are_as_unknown_as_none(call: Caller, stranger: Caller) -> None:
    own, theirs = await call.template(sms()), await stranger.template(sms())
    key = (await call.configure(PIX, sms_template_key=own)).json["template_configuration_key"]
    said = [await stranger.configure(PIX, sms_template_key=template) for template in (own, str(uuid4()))]
    body = {"event_type": PIX, "sms_template_key": theirs}
    said += [await stranger("PUT", f"{CONFIGURATION}/{configuration}", body) for configuration in (key, uuid4())]
    assert {(answer.status, answer.code) for answer in said} == {(404, "PMB000901")}
    assert len({answer.body for answer in said}) == 1
    assert (await stranger("GET", f"{CONFIGURATION}s")).json["data"] == []
    assert theirs not in str((await call("GET", f"{TEMPLATE}s")).json)
    assert (await stranger("PUT", f"{CONFIGURATION}/1", body)).code == "QIT000001"


async def test_every_call_needs_its_scope(world: World, call: Caller) -> None:
    weak = (await make_credential(world.db, call.party.key, scopes=("transfers:write", "webhooks:write"))).api_key
    for method, path, body in (
        ("POST", TEMPLATE, sms()),
        ("GET", f"{TEMPLATE}s", None),
        ("POST", CONFIGURATION, {}),
        ("GET", f"{CONFIGURATION}s", None),
        ("PUT", f"{CONFIGURATION}/{uuid4()}", {}),
    ):
        assert (await world.call(method, path, body, key=weak)).code == "GDF000014"


async def chosen(stage: Stage, party: Party, event_type: str, **bodies: dict[str, str]) -> Reply:
    """Make templates and give them to an event."""
    keys = {}
    for channel, body in bodies.items():
        made = await stage.call(party, "POST", TEMPLATE, body)
        keys[f"{channel}_template_key"] = made.json["template_key"]
    return await stage.call(party, "POST", CONFIGURATION, {"event_type": event_type, **keys})


async def inbox(stage: Stage, party: Party, state: str | None = None) -> list[tuple[str | None, str]]:
    """Subject and text of messages, the oldest first, without their tokens."""
    rows = (await stage.call(party, "GET", "/sandbox/inbox")).json["data"]
    return [
        (row["subject"], row["text"][:-6]) for row in reversed(rows) if state is None or row["delivery_status"] == state
    ]


async def test_a_configured_template_words_what_approvers_read_and_its_token_approves(
    stage: Stage, party: Party
) -> None:
    assert (await chosen(stage, party, PIX, sms=sms(), email=email())).status == 201
    async with working(await stage.worker()):
        text = await stage.request(party)
        await stage.request(party, tfa_info=party.tfa_info | {"contact_type": "email"})
        await stage.request(party, "ted")

        async def delivered() -> list[tuple[str | None, str]]:
            return [row for row in [await inbox(stage, party, "delivered")] if len(row) == 3]

        ((first, second, third),) = await until(delivered)
    assert first == (None, "R$ 202,01 p/ Maria Souza, Loja Exemplo, codigo 1: ")
    assert second == ("Código 1", "R$ 202,01 para Maria Souza\n\nCódigo 1: ")
    assert third[1].startswith("R$ 202,01 p/ Padaria Boa Vist")
    assert ", nao repasse: " in third[1]
    row = (await stage.call(party, "GET", f"/sandbox/inbox?operation_key={text}")).json["data"][0]
    assert (await stage.validate(party, text, row["text"][-6:])).status == 202


async def test_a_queued_message_keeps_its_template_and_the_next_one_has_the_new(stage: Stage, party: Party) -> None:
    """No worker runs: all of these wait. Both processes hold the integrator in their caches before each change."""
    keys = [await stage.request(party), await stage.request(party)]
    configured = await chosen(stage, party, PIX, sms=sms())
    keys.append(await stage.request(party))
    other = (await stage.call(party, "POST", TEMPLATE, sms("[amount] [payee_name] [generation]. [token]"))).json
    path = f"{CONFIGURATION}/{configured.json['template_configuration_key']}"
    changed = {"event_type": PIX, "sms_template_key": other["template_key"]}
    assert (await stage.call(party, "PUT", path, changed)).status == 201
    keys.append(await stage.request(party))
    await stage.shift(keys[0], 31)
    assert (await stage.resend(party, keys[0])).status == 202
    assert (await stage.call(party, "PUT", path, {**changed, "event_type": TED})).status == 201
    await stage.request(party)
    texts = [text for _, text in await inbox(stage, party)]
    default = "R$ 202,01 p/ Maria Souza (***982247**) Pix, cta ***"
    assert [text.startswith(default) for text in texts] == [True, True, False, False, False, True]
    assert texts[2:5] == [
        "R$ 202,01 p/ Maria Souza, Loja Exemplo, codigo 1: ",
        "R$ 202,01 Maria Souza 1. ",
        "R$ 202,01 Maria Souza 2. ",
    ]


async def test_another_integrators_templates_word_nothing_here(stage: Stage, party: Party) -> None:
    other = await stage.party()
    await chosen(stage, other, PIX, sms=sms())
    await stage.request(party)
    ((_, text),) = await inbox(stage, party)
    assert "nao repasse" in text
