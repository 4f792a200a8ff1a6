from uuid import UUID

import pytest

from aval.channels.inbox import SandboxInbox
from aval.ports import Delivery, DeliveryOutcome, OutgoingMessage

DELIVERED = Delivery(DeliveryOutcome.DELIVERED)
FAILED = Delivery(DeliveryOutcome.FAILED, "sandbox_failed")
REFUSED = Delivery(DeliveryOutcome.REFUSED, "sandbox_refused")


@pytest.mark.parametrize(
    ("destination", "deliveries"),
    [
        ("+5511987651234", [DELIVERED]),
        ("maria@example.com", [DELIVERED]),
        ("+5511900000001", [REFUSED, REFUSED]),
        ("+5511900000002", [FAILED, FAILED, DELIVERED, DELIVERED]),
    ],
)
async def test_the_destination_and_the_try_decide(destination: str, deliveries: list[Delivery]) -> None:
    key = UUID(int=1)
    found = []
    for try_number in range(1, len(deliveries) + 1):
        inbox = SandboxInbox()  # a new one each time: nothing is remembered between processes
        found.append(await inbox.send(OutgoingMessage(key, key, destination, None, "x", None, "c", try_number)))
        await inbox.close()
    assert found == deliveries
