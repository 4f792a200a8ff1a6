"""The demo's acts: each shows something that just happened on a real Aval, and fails where it did not."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any
from uuid import uuid4

from aval.cli.demo_calls import Caller, DemoFailed, Receiver, Seen, until
from aval.cli.demo_cast import ACCOUNT_NAME, APPROVER_NAME, CPF, INTEGRATOR_NAME, Cast, number
from aval.cli.demo_screen import Screen
from aval.domain.money import Brl
from aval.storage.ledger import AccountLedger

TED_AMOUNT = Brl(1_250_00)
PIX_AMOUNT = Brl(349_90)
COOLDOWN_S = 30
TED_PAYEE = {
    "account_branch": "0001",
    "account_number": "7654321",
    "account_digit": "0",
    "owner_document_number": "12ABC34501DE35",
    "owner_name": "Padaria Boa Vista Ltda",
    "ispb": "87654321",
    "account_type": "checking_account",
}
PIX_KEY = "52998224725"


@dataclass(frozen=True, slots=True)
class Stage:
    """What the acts need."""

    screen: Screen
    caller: Caller
    receiver: Receiver
    cast: Cast
    read_ledger: Callable[[], Awaitable[AccountLedger]]

    @property
    def account(self) -> str:
        """The path of the account."""
        return f"/account/{self.cast.account_key}"

    async def message(self, operation_key: str, generation: int) -> Any:
        """The delivered message of a generation, from the sandbox's inbox."""

        async def look() -> Any:
            """The message, once it is delivered."""
            rows = (await self.caller.get(f"/sandbox/inbox?operation_key={operation_key}"))["data"]
            arrived = (row for row in rows if row["generation"] == generation and row["delivery_status"] == "delivered")
            return next(arrived, None)

        return await until("the message is delivered", look)


async def play(stage: Stage) -> None:
    """All acts; raises DemoFailed as soon as something is not as told."""
    ted = await _request_ted(stage)
    first, second = await _wrong_and_resent(stage, ted)
    await _superseded(stage, ted, first)
    await _approve_ted(stage, ted, second)
    await _webhook(stage, ted, "ted_status")
    await _pix(stage)
    await _ledger(stage)


async def _request_ted(stage: Stage) -> str:
    await stage.screen.act(
        "A TED is asked for",
        f"{INTEGRATOR_NAME} asks for {_told(TED_AMOUNT)} to {TED_PAYEE['owner_name']}, from the account of "
        f"{ACCOUNT_NAME}. {APPROVER_NAME} has to approve it, by SMS.",
    )
    body = {
        "request_control_key": str(uuid4()),
        "transaction_amount": number(TED_AMOUNT),
        "target_account": TED_PAYEE,
        "tfa_info": {"approver_document_number": CPF, "contact_type": "sms"},
    }
    seen = await stage.caller.see("POST", f"{stage.account}/ted", body, expect=202)
    check("the TED waits for its approval", seen.body["ted_status"], "pending_2fa_approval")
    key: str = seen.body["ted_key"]
    approval = seen.body["approval"]
    stage.screen.call(
        seen,
        f"[bold]pending_2fa_approval[/]; token on its way to {approval['masked_destination']}, "
        f"{approval['attempts_remaining']} attempts, valid until {approval['expires_at'][11:19]} UTC",
    )
    balance = (await stage.read_ledger()).balance
    stage.screen.fact(f"Nothing was debited: {_told(balance)} are in the account.")
    await stage.screen.phone(await stage.message(key, 1))
    stage.screen.fact("Amount and payee come first, the token last. The database holds no token, only what derives it.")
    return key


async def _wrong_and_resent(stage: Stage, ted: str) -> tuple[str, str]:
    await stage.screen.act("A wrong token, and a new one", "Somebody guesses. Then the approver asks for a new token.")
    first = _token(await stage.message(ted, 1))
    seen = await _validate(stage, "ted", ted, _other_than(first), expect=400)
    left = await _attempts_left(stage, ted)
    check("one attempt is used", left, 4)
    stage.screen.call(seen, f"{seen.body['code']} {seen.body['title']}: [bold]{left} attempts left[/]")
    resend = f"{stage.account}/ted/{ted}/resend_token"
    seen = await stage.caller.see("PATCH", resend, {}, expect=429)
    stage.screen.call(seen, f"{seen.body['code']} {seen.body['description']}")
    advance = f"/sandbox/operations/{ted}/advance"
    seen = await stage.caller.see("POST", advance, {"seconds": COOLDOWN_S}, expect=200)
    stage.screen.call(seen, f"the sandbox lets {COOLDOWN_S} seconds pass for this TED alone")
    seen = await stage.caller.see("PATCH", resend, {}, expect=202)
    approval = seen.body["approval"]
    check("the resend is a new generation", approval["generation"], 2)
    check("a resend gives no attempt back", approval["attempts_remaining"], 4)
    stage.screen.call(
        seen,
        f"[bold]generation {approval['generation']}[/], 5:00 begin anew, still "
        f"[bold]{approval['attempts_remaining']} attempts[/]",
    )
    message = await stage.message(ted, 2)
    await stage.screen.phone(message)
    return first, _token(message)


async def _superseded(stage: Stage, ted: str, first: str) -> None:
    await stage.screen.act("The first token is dead", f"The first message still says {first}; it approves nothing now.")
    seen = await _validate(stage, "ted", ted, first, expect=400)
    reason = seen.body["extra_fields"].get("reason")
    check("the old token is superseded", reason, "superseded_token")
    left = await _attempts_left(stage, ted)
    check("a superseded token uses an attempt", left, 3)
    stage.screen.call(seen, f"{seen.body['code']} {seen.body['title']} ({reason}): [bold]{left} attempts left[/]")


async def _approve_ted(stage: Stage, ted: str, token: str) -> None:
    await stage.screen.act(
        "Approved, debited, settled",
        "One transaction judges the token, debits amount and fee and writes the settlement job; then a worker settles.",
    )
    before = (await stage.read_ledger()).balance
    seen = await _validate(stage, "ted", ted, token, expect=202)
    after = (await stage.read_ledger()).balance
    stage.screen.call(seen, f"[bold]{seen.body['ted_status']}[/]: {_told(before)} before, {_told(after)} after")
    detail = await _sent(stage, "ted", ted)
    stage.screen.fact(f"The rail took it: [bold]sent[/], transaction {detail['transaction_key']}")
    seen = await _validate(stage, "ted", ted, token, expect=404)
    stage.screen.call(seen, f"{seen.body['code']} {seen.body['title']}: a token counts once")


async def _webhook(stage: Stage, operation_key: str, status_name: str) -> None:
    await stage.screen.act(
        "The webhook",
        f"{INTEGRATOR_NAME} listens on {stage.receiver.url}. It checks the signature with the public library of "
        "Standard Webhooks and the secret that was shown once.",
    )
    heard = await stage.receiver.heard()
    data = heard.event["data"]
    check("the webhook is about this operation", operation_key in data.values(), True)
    check("the webhook says sent", data[status_name], "sent")
    check("the signature verifies", heard.is_genuine, True)
    check("a changed body does not verify", heard.is_forgery_refused, True)
    stage.screen.fact(f"{heard.event['webhook_type']}, event {heard.event_id}, sequence {heard.event['sequence']}")
    stage.screen.fact(f"signature {heard.signature[:24]}… is genuine; with one word changed it is refused")


async def _pix(stage: Stage) -> None:
    await stage.screen.act(
        "A Pix, by e-mail",
        f"{_told(PIX_AMOUNT)} to the Pix key {PIX_KEY}. Whose key that is the rail says, not the request.",
    )
    now = datetime.now(UTC)
    body = {
        "request_control_key": str(uuid4()),
        "pix_transfer_type": "key",
        "transaction_amount": number(PIX_AMOUNT),
        "target_pix_key": PIX_KEY,
        "pix_message": "Nota 1207",
        "end_to_end_id": f"E12345678{now:%Y%m%d%H%M}{token_hex(6)[:11]}",
        "tfa_info": {"approver_document_number": CPF, "contact_type": "email"},
    }
    seen = await stage.caller.see("POST", f"{stage.account}/pix_transfer", body, expect=202)
    key: str = seen.body["pix_transfer_key"]
    stage.screen.call(seen, f"[bold]{seen.body['pix_transfer_status']}[/]; {seen.body['end_to_end_id']}")
    message = await stage.message(key, 1)
    await stage.screen.mail(message, INTEGRATOR_NAME)
    seen = await _validate(stage, "pix_transfer", key, _token(message).lower(), expect=202)
    stage.screen.call(seen, f"[bold]{seen.body['pix_transfer_status']}[/]; typed in lower case, which is as good")
    await _sent(stage, "pix_transfer", key)
    heard = await stage.receiver.heard()
    check("the webhook says sent", heard.event["data"]["pix_transfer_status"], "sent")
    check("the signature verifies", heard.is_genuine, True)
    stage.screen.fact("The rail took it: [bold]sent[/]; the webhook came, its signature is genuine.")


async def _ledger(stage: Stage) -> None:
    await stage.screen.act("The ledger", "Each entry debits one account and credits another; entries never change.")
    ledger = await stage.read_ledger()
    stage.screen.ledger(ledger)
    check("the balance rebuilt from the entries is the stored one", ledger.rebuilt, ledger.balance)
    stage.screen.fact(
        f"Rebuilt from {len(ledger.entries)} entries {_told(ledger.rebuilt)}, stored {_told(ledger.balance)}: equal."
    )


async def _validate(stage: Stage, kind: str, key: str, token: str, *, expect: int) -> Seen:
    return await stage.caller.see(
        "PUT", f"{stage.account}/{kind}/{key}/validate_token", {"token": token}, expect=expect
    )


async def _attempts_left(stage: Stage, ted: str) -> int:
    left: int = (await stage.caller.get(f"{stage.account}/ted/{ted}/outgoing"))["approval"]["attempts_remaining"]
    return left


async def _sent(stage: Stage, kind: str, key: str) -> Any:
    async def look() -> Any:
        found = await stage.caller.get(f"{stage.account}/{kind}/{key}/outgoing")
        return found if found[f"{kind}_status"] == "sent" else None

    return await until("the rail takes it", look)


def check(what: str, seen: object, expected: object) -> None:
    """Raise DemoFailed unless it is so."""
    if seen != expected:
        raise DemoFailed(what, seen)


def _token(message: Any) -> str:
    return str(message["text"])[-6:]


def _other_than(token: str) -> str:
    return f"{(int(token) + 1) % 1_000_000:06d}"


def _told(amount: Brl) -> str:
    return amount.localized("en")
