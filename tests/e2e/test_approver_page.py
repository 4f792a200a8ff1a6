"""The approver's page in a real browser: a passkey is made, its owner sees what it signs, approves and denies."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.async_api import Browser, Route

from tests.devices.registering import Enrollment
from tests.devices.signing import Signing, request_by_device
from tests.e2e.browser import Phone
from tests.factories import make_party
from tests.world import World, item_body

pytestmark = pytest.mark.browser
REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
NOT_SIGNED = "Nada foi assinado"


async def challenged(world: World, origin: str, **settings: Any) -> Enrollment:
    """A registration whose challenge was fetched by the integrator."""
    party = await make_party(world.db, rp_id="localhost", origins=(origin,), **settings)
    enrollment = Enrollment(world, party)
    assert (await enrollment.challenge()).status == 201
    return enrollment


async def enrolled(world: World, phone: Phone, **settings: Any) -> Enrollment:
    """A passkey in this phone, registered through the page and confirmed by token."""
    enrollment = await challenged(world, phone.origin, **settings)
    await phone.open(enrollment.session_id, f"#return_to={phone.origin}/healthz")
    await phone.press("Criar chave de acesso")
    await phone.page.wait_for_url("**/healthz#**")
    assert phone.handed_over["session_id"] == str(enrollment.session_id)
    created = await enrollment.create(credential=json.loads(phone.handed_over["credential"]))
    assert created.status == 202, created.body
    assert (await enrollment.validate()).status == 201
    return enrollment


@pytest.mark.parametrize("kind", ["pix_transfer", "ted"])
async def test_a_passkey_is_registered_and_approves_what_it_is_shown(world: World, phone: Phone, kind: str) -> None:
    enrollment = await enrolled(world, phone)
    signing, other = [await request_by_device(enrollment, each) for each in (kind, "ted")]
    early = await signing.validate()
    assert (early.status, early.code[-3:]) == (409, "905")

    await phone.open(signing.session_id)
    await phone.heading("Aprovar Pix?" if kind == "pix_transfer" else "Aprovar TED?")
    details = (await signing.open())["details"]
    text = await phone.text()
    account = enrollment.party.account.data
    shown = (
        "R$ 202,01",
        details["payee_name"],
        details["payee_document_masked"],
        f"***{account.account_number[-3:]}-7",
    )
    assert [each for each in shown if each not in text] == []
    assert "É a primeira vez que esta conta paga este destino." in text
    await phone.inspect(f"approve-{kind}")

    await phone.press("Aprovar com chave de acesso")
    await phone.status("renovado")  # the test's own look took the nonce
    await phone.press("Aprovar com chave de acesso")
    await phone.heading("Aprovado")
    assert (await phone.text()).count("R$ 202,01") == 1
    await phone.inspect(f"approved-{kind}")
    validated = await signing.validate()
    assert validated.status == 202, validated.body

    await phone.page.get_by_role("link", name="TED").click()
    await phone.heading("Aprovar TED?")
    assert phone.page.url.endswith(str(other.session_id))
    await phone.press("Aprovar com chave de acesso")
    await phone.heading("Aprovado")
    assert "Nada mais aguarda" in await phone.text()
    assert (await other.validate()).status == 202


async def test_a_denial_that_says_it_was_not_me_rejects_at_once(world: World, phone: Phone) -> None:
    enrollment = await enrolled(world, phone)
    signing = await request_by_device(enrollment)
    await phone.open(signing.session_id)
    await phone.press("Negar")
    assert await phone.page.get_by_role("radio").all_inner_texts() == [""] * 3
    await phone.press("Negar com chave de acesso")  # nothing is said for the approver
    assert await phone.page.get_by_role("dialog").is_visible()
    await phone.page.get_by_label("Não fui eu").check()
    await phone.inspect("deny")
    await phone.press("Negar com chave de acesso")
    await phone.heading("Negado")
    assert "avise Loja Exemplo agora" in await phone.text()
    await phone.inspect("denied")
    read = await signing.wire.read(signing.key)
    assert read.json["pix_transfer_status"] == "rejected"
    (row,) = await world.fetch("select reason from device_decisions where operation_id = $1", signing.key)
    assert row["reason"] == "not_me"
    assert (await signing.validate()).status == 400
    await phone.page.reload()
    await phone.heading("Negado")


async def test_a_batch_shows_totals_then_new_payees_and_the_largest_first(world: World, phone: Phone) -> None:
    enrollment = await enrolled(world, phone)
    party = enrollment.party
    known = await world.request(party)
    assert (await world.validate(party, "pix_transfer", known, await world.token(party, known))).status == 202
    target = party.pix()["target_account"]
    items = [
        item_body(
            *(party, "pix_transfer_batch"),
            transaction_amount=100 + number,
            target_account=target
            if number % 2
            else target | {"account_number": f"77{number:04}", "owner_name": "Novo"},
        )
        for number in range(24)
    ]
    signing = await Signing(enrollment, "pix_transfer_batch").requested(pix_transfers=items)
    await phone.open(signing.session_id)
    await phone.heading("Aprovar lote de Pix?")
    text = await phone.text()
    assert "R$ 2.676,00" in text
    assert "24 pagamentos" in text
    assert "12 destinos pagos pela primeira vez" in text
    amounts = await phone.page.locator("li .amount").all_inner_texts()
    expected = [*range(122, 106, -2), *range(123, 107, -2)]  # eight of each, new ones first
    assert [each.replace("\xa0", " ") for each in amounts] == [f"R$ {amount},00" for amount in expected]
    await phone.inspect("approve-batch")
    await phone.page.get_by_role("button", name="Mostrar todos os 12").first.click()
    assert await phone.page.locator("li").count() == 20
    await phone.press("Aprovar com chave de acesso")
    await phone.heading("Aprovado")
    assert (await signing.validate()).status == 201


async def test_a_keyboard_is_enough(world: World, phone: Phone) -> None:
    enrollment = await enrolled(world, phone)
    signing = await request_by_device(enrollment, "ted")
    await phone.open(signing.session_id)
    await phone.heading("Aprovar TED?")
    focused = phone.page.locator(":focus")
    assert await focused.evaluate("it => it.tagName") == "H1"
    reached = []
    for _ in range(3):
        await phone.page.keyboard.press("Tab")
        reached.append((await focused.inner_text()).strip())
    assert reached == ["Identificadores", "Aprovar com chave de acesso", "Negar"]
    await phone.page.keyboard.press("Enter")
    await phone.page.get_by_role("dialog").wait_for()
    assert await focused.evaluate("it => it.type") == "radio"
    await phone.page.keyboard.press("ArrowDown")
    assert await focused.evaluate("it => it.value") == "wrong_details"
    await phone.page.keyboard.press("Escape")
    await phone.page.get_by_role("dialog").wait_for(state="detached")
    assert (await focused.inner_text()).strip() == "Negar"
    await phone.page.keyboard.press("Shift+Tab")
    await phone.page.keyboard.press("Enter")
    await phone.heading("Aprovado")
    assert (await signing.validate()).status == 202


async def test_english_in_the_dark(world: World, browser: Browser, origin: str) -> None:
    """The browser's language wins over the integrator's, and a button changes it."""
    phone = await Phone.unlocked(browser, origin, locale="en-GB", color_scheme="dark")
    enrollment = await challenged(world, origin)
    await phone.open(enrollment.session_id)
    await phone.heading("Register a passkey")
    assert await phone.page.evaluate("document.documentElement.lang") == "en"
    await phone.inspect("register-dark")
    await phone.press("Português")
    await phone.heading("Cadastrar chave de acesso")
    assert await phone.page.evaluate("document.documentElement.lang") == "pt-BR"
    await phone.close()
    assert phone.complaints == []


async def test_without_a_way_back_the_credential_is_shown_to_be_copied(world: World, phone: Phone) -> None:
    enrollment = await challenged(world, phone.origin)
    await phone.open(enrollment.session_id)
    await phone.heading("Cadastrar chave de acesso")
    await phone.inspect("register")
    await phone.press("Criar chave de acesso")
    await phone.heading("Chave de acesso criada")
    await phone.inspect("made")
    credential = json.loads(await phone.page.get_by_label("Credencial").input_value())
    assert (await enrollment.create(credential=credential)).status == 202
    await phone.page.reload()
    await phone.heading("Não foi possível continuar")
    assert "já foi usado" in await phone.text()


async def test_a_credential_goes_only_where_the_integrator_is(world: World, phone: Phone) -> None:
    enrollment = await challenged(world, phone.origin)
    for foreign in ("https://evil.example.com/", "javascript:alert(1)", "x", f"{phone.origin}.example.com/", ""):
        await phone.open(enrollment.session_id, f"#return_to={foreign}")
        await phone.page.reload()
        await phone.heading("Não foi possível continuar")
        assert "não é deste serviço" in await phone.text()


async def test_what_cannot_be_signed_says_why(world: World, phone: Phone) -> None:
    enrollment = await enrolled(world, phone)
    signing = await request_by_device(enrollment)
    await phone.open(signing.session_id)
    await phone.user_is(verified=False)
    await phone.press("Aprovar com chave de acesso")
    await phone.status(NOT_SIGNED)
    await phone.user_is(verified=True)
    assert (await signing.wire.cancel(signing.key)).status == 200
    await phone.press("Aprovar com chave de acesso")
    await phone.heading("Nada a aprovar")
    await phone.inspect("closed")
    for link in (uuid4(), "x"):
        await phone.open(link)
        await phone.heading("Não foi possível continuar")
        assert "Este link não vale" in await phone.text()
    await phone.inspect("problem")
    waiting = await request_by_device(enrollment)
    assert (await enrollment.call("DELETE", "/disable")).status == 200
    await phone.open(waiting.session_id)
    await phone.heading("Não foi possível continuar")
    assert "Não há chave de acesso" in await phone.text()


async def test_a_page_left_open_signs_under_a_new_nonce(world: World, phone: Phone) -> None:
    enrollment = await enrolled(world, phone)
    signing = await request_by_device(enrollment)
    await phone.open(signing.session_id)
    await phone.heading("Aprovar Pix?")
    reply = await world.call(
        "POST", f"/sandbox/operations/{signing.key}/advance", {"seconds": 300}, key=enrollment.party.api_key
    )
    assert reply.status == 200
    await phone.page.clock.set_fixed_time(datetime.now(UTC) + timedelta(minutes=5))
    await phone.press("Aprovar com chave de acesso")
    await phone.heading("Aprovado")
    assert (await signing.validate()).status == 202


async def test_a_lost_answer_is_told_as_unknown_and_shown_after_a_reload(world: World, phone: Phone) -> None:
    enrollment = await enrolled(world, phone)
    signing = await request_by_device(enrollment)
    await phone.open(signing.session_id)

    async def lose_the_answer(route: Route) -> None:
        await route.fetch()
        await route.abort()

    await phone.page.route("**/approve", lose_the_answer)
    await phone.press("Aprovar com chave de acesso")
    await phone.status("não se sabe se a resposta valeu")
    await phone.page.reload()
    await phone.heading("Aprovado")
    assert (await signing.validate()).status == 202


LIES: dict[str, Any] = {
    "another amount of an item": lambda told: told["items"][0].update(amount="1.00"),
    "another payee of an item": lambda told: told["items"][0].update(payee_name="Outra Pessoa"),
    "an item less": lambda told: told["items"].pop(),
    "items in another order": lambda told: told["items"].reverse(),
    "another total": lambda told: told["details"].update(amount="1.00"),
    "no items": lambda told: told.update(items=None),
    "a member the page does not show": lambda told: told["details"].update(note="x"),
    "a version the page does not know": lambda told: told["details"].update(version=2),
}


async def test_a_session_whose_parts_do_not_agree_is_never_signed(world: World, phone: Phone) -> None:
    enrollment = await enrolled(world, phone)
    signing = await request_by_device(enrollment, "ted_batch")
    told = await signing.open()
    for lie in LIES.values():
        forged = json.loads(json.dumps(told))
        lie(forged)
        await phone.told(forged)
        await phone.open(signing.session_id)
        await phone.heading("Não foi possível continuar")
        assert "não conferem entre si" in await phone.text()


async def test_a_payee_of_another_screen_gets_no_signature(world: World, phone: Phone) -> None:
    """Whoever changes what the page is told makes it sign just that, which is not what is stored."""
    enrollment = await enrolled(world, phone)
    signing = await request_by_device(enrollment)
    forged = await signing.open()
    forged["details"]["payee_name"] = "Outra Pessoa"
    await phone.told(forged)
    await phone.open(signing.session_id)
    await phone.press("Aprovar com chave de acesso")
    await phone.status("não foi aceita")
    assert (await signing.validate()).code == "PXT000905"


async def test_the_page_computes_the_published_vectors(phone: Phone) -> None:
    vectors = json.loads((REFERENCE / "device-vectors.json").read_text())["operations"]
    await phone.open("x")
    script = await phone.page.locator("script").get_attribute("src")
    computed = await phone.page.evaluate(COMPUTE, [script.replace("approve.js", "canonical.js"), vectors])
    assert computed == [[each["canonical"], each["challenge_hex"]] for each in vectors]
    assert len(vectors) >= 4


COMPUTE = """async ([path, vectors]) => {
  const { canonical, deviceChallenge } = await import(path);
  const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return Promise.all(vectors.map(async ({ decision, nonce, details }) =>
    [canonical(details), hex(await deviceChallenge(decision, nonce, details))]));
}"""


async def test_both_languages_have_the_same_words(phone: Phone) -> None:
    await phone.open("x")
    script = await phone.page.locator("script").get_attribute("src")
    words = await phone.page.evaluate(WORDS, script.replace("approve.js", "texts.js"))
    assert words["pt-BR"] == words["en"]
    assert len(words["en"]) >= 60


WORDS = """async (path) => {
  const kind = (word) => typeof word === "function" ? word.length : 0;
  const names = (words) => Object.entries(words).flatMap(([name, word]) =>
    typeof word === "object" ? names(word).map((inner) => `${name}.${inner}`) : [`${name}/${kind(word)}`]);
  const { texts } = await import(path);
  return Object.fromEntries(Object.entries(texts).map(([tag, words]) => [tag, names(words)]));
}"""


async def test_a_pix_key_that_looks_like_an_account_is_shown_as_a_pix_key(world: World, phone: Phone) -> None:
    enrollment = await enrolled(world, phone)
    signing = await request_by_device(enrollment)
    told = await signing.open()
    told["details"]["target"] = "60701190/0001/7654321-0@example.com"  # a valid e-mail address, and so a valid Pix key
    await phone.told(told)
    await phone.open(signing.session_id)
    await phone.heading("Aprovar Pix?")
    assert "Chave Pix\n60701190/0001/7654321-0@example.com" in await phone.text()
