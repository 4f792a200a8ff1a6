"""What the demo's acts share: the screen, the integrator's wire, what the approver reads, what the ledger says."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from aval.cli.demo_calls import Caller, Receiver, Wire, until
from aval.cli.demo_cast import Cast
from aval.cli.demo_screen import Screen
from aval.client import AvalClient, InboxMessage
from aval.domain.evidence_check import EvidenceReport
from aval.domain.money import Brl
from aval.storage.ledger import AccountLedger


@dataclass(frozen=True, slots=True)
class Stage:
    """What the acts need."""

    screen: Screen
    wire: Wire
    phone: Wire  # of the approver: it has no key of the integrator
    operator: Caller
    receiver: Receiver
    cast: Cast
    read_ledger: Callable[[], Awaitable[AccountLedger]]
    read_evidence: Callable[[UUID], Awaitable[EvidenceReport | None]]

    @property
    def aval(self) -> AvalClient:
        """The integrator's client."""
        return self.wire.aval

    @property
    def account(self) -> UUID:
        """The account everything is paid from."""
        return self.cast.account_key

    def answered(self, status: int, told: str) -> None:
        """Show the last call and what came of it."""
        self.screen.call(self.wire.answered(status), told)

    async def balance(self) -> Brl:
        """What is in the account now."""
        return (await self.read_ledger()).balance

    async def message(self, operation_key: UUID, generation: int = 1) -> InboxMessage:
        """The delivered message of a generation, from the sandbox's inbox."""

        async def look() -> InboxMessage | None:
            """The message, once it is delivered."""
            rows = (await self.aval.read_inbox(operation_key=operation_key)).rows
            arrived = (row for row in rows if (row.generation, row.delivery_status) == (generation, "delivered"))
            return next(arrived, None)

        return await until("the message is delivered", look)


def token_in(message: InboxMessage) -> str:
    """The token at the end of a message."""
    return (message.text or "")[-6:]


def told(amount: Brl | Decimal | None) -> str:
    """An amount as it is read."""
    assert amount is not None
    exact = Brl(int(amount * 100)) if isinstance(amount, Decimal) else amount  # an amount of the wire is whole centavos
    return exact.localized("en")
