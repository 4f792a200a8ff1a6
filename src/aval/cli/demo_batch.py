"""The demo's batch: one token for three Pix, one of which the rail refuses."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from aval.cli.demo_calls import check
from aval.cli.demo_cast import CPF
from aval.cli.demo_stage import Stage, token_in, told
from aval.client import Approver, PixBatch, PixItem, TargetAccount

ITEM_EVENT, END_EVENT = "baas.pix_transfer.outgoing_pix", "aval.pix_transfer_batch.finished"


@dataclass(frozen=True, slots=True)
class Pay:
    """Who is paid what, and what the sandbox's rail makes of it."""

    name: str
    document: str
    amount: Decimal
    outcome: str

    def item(self) -> PixItem:
        """The Pix."""
        target = TargetAccount(
            account_branch="0001",
            account_number="7654321",
            account_digit="0",
            owner_document_number=self.document,
            owner_name=self.name,
            ispb="87654321",
        )
        return PixItem(amount=self.amount, target=target)


PAYDAY = (
    Pay("Ana Souza", "52998224725", Decimal("2140.00"), "sent"),
    Pay("Pedro Reis", "39053344705", Decimal("1980.50"), "sent"),
    Pay("Eva Lins", "12345678909", Decimal("310.99"), "rejected"),  # by these centavos: spec transfers.md §10
)


async def play_batch(stage: Stage) -> None:
    """Ask for it, approve it, see its items through; raises DemoFailed."""
    items = {pay: pay.item() for pay in PAYDAY}
    await stage.screen.act(
        "A batch: one token for three",
        f"It is payday: {len(items)} Pix under one approval. The sandbox's rail refuses the one that ends in .99.",
    )
    batch = await stage.aval.create_pix_batch(stage.account, items=list(items.values()), approver=Approver(CPF))
    check("the batch waits for its approval", (batch.status, batch.item_count), ("pending_2fa_approval", len(items)))
    stage.answered(202, f"[bold]{batch.status}[/]; {batch.item_count} Pix, {told(batch.total_amount)} in all")
    message = await stage.message(batch.key)
    await stage.screen.phone(message)
    await _approve(stage, batch, token_in(message))
    await _see_through(stage, batch, {str(item.request_control_key): pay for pay, item in items.items()})


async def _approve(stage: Stage, batch: PixBatch, token: str) -> None:
    before = await stage.balance()
    approved = await stage.aval.validate_pix_batch(stage.account, batch.key, token)
    check("the batch is approved", approved.status, "approved")
    answer, after = stage.wire.answered(201), await stage.balance()
    stage.screen.call(answer, f"[bold]approved[/], all of it debited: {told(before)} before, {told(after)} after")


async def _see_through(stage: Stage, batch: PixBatch, pays: Mapping[str, Pay]) -> None:
    webhooks = [(await stage.receiver.heard()).webhook for _ in range(len(pays) + 1)]
    *each, end = sorted(webhooks, key=lambda webhook: webhook.sequence)
    types = [webhook.webhook_type for webhook in (*each, end)]
    check("each item has its webhook, and then the batch", types, [ITEM_EVENT] * len(pays) + [END_EVENT])
    for webhook in each:
        pay, status = pays[webhook.data["request_control_key"]], webhook.data["pix_transfer_status"]
        check("the rail does as the sandbox says", status, pay.outcome)
        stage.screen.fact(f"[bold]{status}[/]: {told(pay.amount)} to {pay.name}")
    seen = await stage.aval.get_pix_batch(stage.account, batch.key)
    counts = f"{seen.items_sent} sent, {seen.items_rejected} rejected"
    check("the batch counts its items", counts, "2 sent, 1 rejected")
    at_the_end = f"{end.data['items_sent']} sent, {end.data['items_rejected']} rejected"
    check("its last webhook says the same", at_the_end, counts)
    balance = told(await stage.balance())
    stage.screen.fact(f"Then came {END_EVENT}: {counts}")
    stage.screen.fact(f"What the rail refused came back by itself: {balance} are in the account.")
