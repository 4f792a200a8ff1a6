"""The sandbox inbox: nothing leaves, and the outcome is read off the destination (transfers.md §10).

What a message said is not kept either: `GET /sandbox/inbox` renders it again from the outbox and the derived token.
"""

from aval.ports import Delivery, DeliveryOutcome, OutgoingMessage

REFUSED_DESTINATION = "+5511900000001"
FAILING_DESTINATION = "+5511900000002"
FAILURES = 2


class SandboxInbox:
    """A channel that takes everything, save what its two odd destinations say."""

    async def send(self, message: OutgoingMessage) -> Delivery:
        """Decide by destination and try number alone, so every worker decides alike."""
        if message.destination == REFUSED_DESTINATION:
            return Delivery(DeliveryOutcome.REFUSED, "sandbox_refused")
        if message.destination == FAILING_DESTINATION and message.try_number <= FAILURES:
            return Delivery(DeliveryOutcome.FAILED, "sandbox_failed")
        return Delivery(DeliveryOutcome.DELIVERED)

    async def close(self) -> None:
        """Nothing is open."""
