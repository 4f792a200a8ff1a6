"""The demo's acts: each shows something that just happened on a real Aval, and fails where it did not."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from secrets import token_hex
from uuid import UUID

from aval.cli.demo_batch import play_batch
from aval.cli.demo_calls import check, refusal_of, until
from aval.cli.demo_cast import ACCOUNT_NAME, APPROVER_NAME, CPF, INTEGRATOR_NAME
from aval.cli.demo_device import play_device
from aval.cli.demo_redemption import play_redemption
from aval.cli.demo_stage import Stage, token_in, told
from aval.client import Approver, PixDetail, PixKey, TargetAccount, Ted, TedDetail
from aval.domain.money import Brl

TED_AMOUNT = Brl(1_250_00)
PIX_AMOUNT = Brl(349_90)
COOLDOWN_S = 30
TED_PAYEE = TargetAccount(
    account_branch="0001",
    account_number="7654321",
    account_digit="0",
    owner_document_number="12ABC34501DE35",
    owner_name="Padaria Boa Vista Ltda",
    ispb="87654321",
)
PIX_KEY = "52998224725"


async def play(stage: Stage) -> None:
    """All acts; raises DemoFailed or CallFailed as soon as something is not as told."""
    ted = await _request_ted(stage)
    first, second = await _wrong_and_resent(stage, ted)
    await _superseded(stage, ted, first)
    await _approve_ted(stage, ted, second)
    await _webhook(stage, ted)
    await _pix(stage)
    await play_batch(stage)
    await play_device(stage)
    await _ledger(stage)
    await play_redemption(stage)


async def _request_ted(stage: Stage) -> UUID:
    await stage.screen.act(
        "A TED is asked for",
        f"{INTEGRATOR_NAME} asks for {told(TED_AMOUNT)} to {TED_PAYEE.owner_name}, from the account of "
        f"{ACCOUNT_NAME}. {APPROVER_NAME} has to approve it, by SMS.",
    )
    ted = await stage.aval.create_ted(stage.account, amount=TED_AMOUNT, target=TED_PAYEE, approver=Approver(CPF))
    check("the TED waits for its approval", ted.status, "pending_2fa_approval")
    approval = ted.approval
    assert approval is not None
    stage.answered(
        202,
        f"[bold]pending_2fa_approval[/]; token on its way to {approval.masked_destination}, "
        f"{approval.attempts_remaining} attempts, valid until {approval.expires_at:%H:%M:%S} UTC",
    )
    stage.screen.fact(f"Nothing was debited: {told(await stage.balance())} are in the account.")
    await stage.screen.phone(await stage.message(ted.key))
    stage.screen.fact("Amount and payee come first, the token last. The database holds no token, only what derives it.")
    return ted.key


async def _wrong_and_resent(stage: Stage, ted: UUID) -> tuple[str, str]:
    await stage.screen.act("A wrong token, and a new one", "Somebody guesses. Then the approver asks for a new token.")
    first = token_in(await stage.message(ted))
    refused = await refusal_of("a wrong token is refused", _validate_ted(stage, ted, _other_than(first)))
    answer = stage.wire.answered(400)
    left = await _attempts_left(stage, ted)
    check("one attempt is used", left, 4)
    stage.screen.call(answer, f"{refused.code} {refused.title}: [bold]{left} attempts left[/]")
    refused = await refusal_of("a resend has to wait", stage.aval.resend_ted(stage.account, ted))
    stage.answered(429, f"{refused.code} {refused.description}")
    await stage.aval.advance(ted, COOLDOWN_S)
    stage.answered(200, f"the sandbox lets {COOLDOWN_S} seconds pass for this TED alone")
    approval = (await stage.aval.resend_ted(stage.account, ted)).approval
    assert approval is not None
    check("the resend is a new generation", approval.generation, 2)
    check("a resend gives no attempt back", approval.attempts_remaining, 4)
    stage.answered(
        202,
        f"[bold]generation {approval.generation}[/], 5:00 begin anew, still "
        f"[bold]{approval.attempts_remaining} attempts[/]",
    )
    message = await stage.message(ted, 2)
    await stage.screen.phone(message)
    return first, token_in(message)


async def _superseded(stage: Stage, ted: UUID, first: str) -> None:
    await stage.screen.act("The first token is dead", f"The first message still says {first}; it approves nothing now.")
    refused = await refusal_of("the old token is refused", _validate_ted(stage, ted, first))
    answer = stage.wire.answered(400)
    check("the old token is superseded", refused.reason, "superseded_token")
    left = await _attempts_left(stage, ted)
    check("a superseded token uses an attempt", left, 3)
    stage.screen.call(answer, f"{refused.code} {refused.title} ({refused.reason}): [bold]{left} attempts left[/]")


async def _approve_ted(stage: Stage, ted: UUID, token: str) -> None:
    await stage.screen.act(
        "Approved, debited, settled",
        "One transaction judges the token, debits amount and fee and writes the settlement job; then a worker settles.",
    )
    before = await stage.balance()
    approved = await _validate_ted(stage, ted, token)
    answer, after = stage.wire.answered(202), await stage.balance()
    stage.screen.call(answer, f"[bold]{approved.status}[/]: {told(before)} before, {told(after)} after")
    detail = await _sent(lambda: stage.aval.get_ted(stage.account, ted))
    stage.screen.fact(f"The rail took it: [bold]sent[/], transaction {detail.transaction_key}")
    refused = await refusal_of("a token counts once", _validate_ted(stage, ted, token))
    stage.answered(404, f"{refused.code} {refused.title}: a token counts once")


async def _webhook(stage: Stage, ted: UUID) -> None:
    await stage.screen.act(
        "The webhook",
        f"{INTEGRATOR_NAME} listens on {stage.receiver.url}. Its Python client checks the signature, by the public "
        "Standard Webhooks, with the secret that was shown once.",
    )
    heard = await stage.receiver.heard()
    data = heard.webhook.data
    check("the webhook is about this TED", data["ted_key"], str(ted))
    check("the webhook says sent", data["ted_status"], "sent")
    check("a changed body does not verify", heard.is_forgery_refused, True)
    event = str(heard.webhook.event_id)[:13]
    stage.screen.fact(f"{heard.webhook.webhook_type}, event {event}…, sequence {heard.webhook.sequence}")
    stage.screen.fact(f"signature {heard.signature[:16]}… is genuine; with one word changed it is refused")


async def _pix(stage: Stage) -> None:
    await stage.screen.act(
        "A Pix, by e-mail",
        f"{told(PIX_AMOUNT)} to the Pix key {PIX_KEY}. Whose key that is the rail says, not the request.",
    )
    pix = await stage.aval.create_pix(
        stage.account,
        amount=PIX_AMOUNT,
        target=PixKey(PIX_KEY, f"E12345678{datetime.now(UTC):%Y%m%d%H%M}{token_hex(6)[:11]}"),
        approver=Approver(CPF, "email"),
        message="Nota 1207",
    )
    stage.answered(202, f"[bold]{pix.status}[/]; {pix.end_to_end_id}")
    message = await stage.message(pix.key)
    await stage.screen.mail(message, INTEGRATOR_NAME)
    approved = await stage.aval.validate_pix(stage.account, pix.key, token_in(message).lower())
    stage.answered(202, f"[bold]{approved.status}[/]; typed in lower case, which is as good")
    await _sent(lambda: stage.aval.get_pix(stage.account, pix.key))
    heard = await stage.receiver.heard()
    check("the webhook says sent", heard.webhook.data["pix_transfer_status"], "sent")
    stage.screen.fact("The rail took it: [bold]sent[/]; the webhook came, its signature is genuine.")


async def _ledger(stage: Stage) -> None:
    await stage.screen.act("The ledger", "Each entry debits one account and credits another; entries never change.")
    ledger = await stage.read_ledger()
    stage.screen.ledger(ledger)
    check("the balance rebuilt from the entries is the stored one", ledger.rebuilt, ledger.balance)
    stage.screen.fact(
        f"Rebuilt from {len(ledger.entries)} entries {told(ledger.rebuilt)}, stored {told(ledger.balance)}: equal."
    )


async def _validate_ted(stage: Stage, ted: UUID, token: str) -> Ted:
    return await stage.aval.validate_ted(stage.account, ted, token)


async def _attempts_left(stage: Stage, ted: UUID) -> int | None:
    approval = (await stage.aval.get_ted(stage.account, ted)).approval
    return None if approval is None else approval.attempts_remaining


async def _sent(read: Callable[[], Awaitable[PixDetail | TedDetail]]) -> PixDetail | TedDetail:
    async def look() -> PixDetail | TedDetail | None:
        found = await read()
        return found if found.status == "sent" else None

    return await until("the rail takes it", look)


def _other_than(token: str) -> str:
    return f"{(int(token) + 1) % 1_000_000:06d}"
