"""A channel nobody set up, or that was switched off while messages were under way."""

from aval.ports import Delivery, DeliveryOutcome, OutgoingMessage


class ClosedChannel:
    """Takes nothing; a message waits in its retries until the channel opens or its token has expired."""

    async def send(self, message: OutgoingMessage) -> Delivery:
        """Fail, worth another try."""
        return Delivery(DeliveryOutcome.FAILED, "channel_closed")

    async def close(self) -> None:
        """Nothing is open."""
