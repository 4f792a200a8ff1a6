"""The demo's device: it shows a TED, signs exactly what it shows, and the evidence says so."""

from uuid import UUID, uuid4

from msgspec.structs import replace

from aval.cli.demo_calls import check, refusal_of, until
from aval.cli.demo_cast import APPROVER_NAME, CPF
from aval.cli.demo_stage import Stage, token_in, told
from aval.client import AppDevice, Approver, DeviceSession, TargetAccount
from aval.domain.money import Brl

DEVICE_NAME = "Beatriz' phone"
AMOUNT = Brl(4_800_00)
PAYEE = TargetAccount(
    account_branch="0001",
    account_number="1203456",
    account_digit="7",
    owner_document_number="11444777000161",
    owner_name="Gráfica Nova Era Ltda",
    ispb="87654321",
)


async def play_device(stage: Stage) -> None:
    """Register a device, approve with it, and check the evidence; raises DemoFailed."""
    device = await _register(stage)
    ted, session = await _request(stage)
    await _sign(stage, device, session)
    await _approve(stage, ted)
    await _evidence(stage, ted)


async def _register(stage: Stage) -> AppDevice:
    await stage.screen.act(
        "A device of her own",
        f"{APPROVER_NAME} registers her phone: its key answers a challenge, and a token by SMS says that it is hers.",
    )
    approver, device = Approver(CPF), AppDevice.new()
    challenge = await stage.aval.challenge_device(stage.account, approver)
    await stage.aval.register_device(stage.account, device, challenge, approver, name=DEVICE_NAME)
    message = await stage.message(device.key)
    await stage.screen.phone(message)
    made = await stage.aval.validate_device(stage.account, device.key, token_in(message))
    check("the device is active", made.status, "created")
    stage.answered(201, "[bold]active[/]; its private key never left it")
    heard = await stage.receiver.heard()
    check("the webhook tells of the device", heard.webhook.webhook_type, "aval.device.status_change")
    return device


async def _request(stage: Stage) -> tuple[UUID, DeviceSession]:
    await stage.screen.act(
        "She signs what she sees",
        f"A TED of {told(AMOUNT)}, by device: no message, no token. Her phone shows what is stored, and signs it.",
    )
    approver = Approver(CPF, "device", uuid4())
    ted = await stage.aval.create_ted(stage.account, amount=AMOUNT, target=PAYEE, approver=approver)
    stage.answered(202, f"[bold]{ted.status}[/]; a link with the session is all that the phone needs")
    refused = await refusal_of("nothing is approved yet", stage.aval.validate_ted(stage.account, ted.key))
    stage.answered(409, f"{refused.code} {refused.title}: she has not signed")
    assert approver.session_id is not None
    session = await stage.phone.aval.open_session(approver.session_id)
    details = session.details
    check("the phone shows the amount that was asked for", details["amount"], AMOUNT.details())
    await stage.screen.device(
        DEVICE_NAME,
        (
            ("Pay", told(AMOUNT)),
            ("to", details["payee_name"]),
            ("document", details["payee_document_masked"]),
            ("account", details["target"]),
        ),
    )
    return ted.key, session


async def _sign(stage: Stage, device: AppDevice, session: DeviceSession) -> None:
    phone = stage.phone
    altered = replace(session, details={**session.details, "payee_name": "Gráfica Velha Era Ltda"})
    refused = await refusal_of("another payee is refused", phone.aval.approve_session(altered, device))
    stage.screen.call(
        phone.answered(400), f"{refused.code} {refused.title}: had it shown another payee, this would be its signature"
    )
    approved = await phone.aval.approve_session(session, device)
    check("the session is approved", approved.status, "approved")
    stage.screen.call(phone.answered(200), "[bold]approved[/]: signed over amount, payee, account and a nonce")


async def _approve(stage: Stage, ted: UUID) -> None:
    before = await stage.balance()
    approved = await stage.aval.validate_ted(stage.account, ted)
    answer, after = stage.wire.answered(202), await stage.balance()
    stage.screen.call(answer, f"[bold]{approved.status}[/]: {told(before)} before, {told(after)} after")
    heard = await stage.receiver.heard()
    check("the webhook says sent", heard.webhook.data["ted_status"], "sent")
    stage.screen.fact("The rail took it: [bold]sent[/]; the webhook came, its signature is genuine.")


async def _evidence(stage: Stage, ted: UUID) -> None:
    await stage.screen.act(
        "Years later: the evidence",
        "What was shown and signed is kept as one sealed record. Anybody can check it with the public key alone.",
    )
    report = await until("the evidence is sealed", lambda: stage.read_evidence(ted))
    check("the evidence is genuine", report.fails, [])
    record, seal = report.record, report.seal
    shown, signature = record["shown"]["details"], record["signatures"][-1]
    stage.screen.fact(
        f"shown: BRL {shown['amount']} to {shown['payee_name']}, approved at {record['approved_at'][:19]}"
    )
    stage.screen.fact(
        f"signed by the key of {signature['device']['device_name']}: exactly these details, to approve them"
    )
    stage.screen.fact(f"sealed with key {seal['kid']}, fingerprint {seal['fingerprint'][:16]}…: nothing was changed")
