"""SMS: through a provider named by an Apprise address, or through a plain HTTP gateway."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from aval.ports import Delivery, DeliveryOutcome, Outbound, OutboundCall, OutgoingMessage

if TYPE_CHECKING:
    from apprise import NotifyBase

TIMEOUT = timedelta(seconds=10)
FINAL = frozenset({400, 410, 422})  # the gateway's word on this message, not on its caller

_SAMPLE_DESTINATION = "+5511987654321"


class ProviderAddressNotValid(ValueError):
    """Apprise knows no provider for this address; it is not shown, because it holds the provider's secret."""


class AppriseSms:
    """Providers tried in turn; all Apprise says of a try is whether it worked, so nothing is refused for good."""

    def __init__(self, addresses: Sequence[str], timeout: timedelta = TIMEOUT) -> None:
        _silence_libraries()
        self._addresses = tuple(addresses)
        self._timeout_s = timeout.total_seconds()
        for address in self._addresses:
            _provider(address, _SAMPLE_DESTINATION)  # a mistyped address ends the start, not the first message

    async def send(self, message: OutgoingMessage) -> Delivery:
        """Hand over through the first provider that takes it."""
        for address in self._addresses:
            try:
                async with asyncio.timeout(self._timeout_s):
                    is_taken = await asyncio.to_thread(_notify, address, message.destination, message.text)
            except TimeoutError:
                continue
            if is_taken:
                return Delivery(DeliveryOutcome.DELIVERED)
        return Delivery(DeliveryOutcome.FAILED, "provider_failed")

    async def close(self) -> None:
        """Nothing stays open between messages."""


class GatewaySms:
    """An HTTP server that takes `{message_key, destination, text}` and answers 2xx, or 400, 410, 422 if it never will.

    Every other answer, a refused bearer key or a wrong path among them, is the set-up's fault and worth another try.
    """

    def __init__(self, outbound: Outbound, url: str, key: str = "", timeout: timedelta = TIMEOUT) -> None:
        self._outbound = outbound
        self._url = url
        self._timeout = timeout
        self._authorization = {"Authorization": f"Bearer {key}"} if key else {}

    async def send(self, message: OutgoingMessage) -> Delivery:
        """Post once; a try that is repeated has the same `message_key`."""
        body = {"message_key": message.message_key, "destination": message.destination, "text": message.text}
        headers = {
            "Content-Type": "application/json",
            "X-Correlation-Id": message.correlation_id,
            **self._authorization,
        }
        answer = await self._outbound.call(
            OutboundCall("POST", self._url, headers, msgspec.json.encode(body), self._timeout)
        )
        status = answer.status
        if status is None:
            return Delivery(DeliveryOutcome.FAILED, answer.error)
        if 200 <= status < 300:
            return Delivery(DeliveryOutcome.DELIVERED)
        return Delivery(DeliveryOutcome.REFUSED if status in FINAL else DeliveryOutcome.FAILED, f"http_{status}")

    async def close(self) -> None:
        """The outbound client belongs to whoever gave it."""


def _silence_libraries() -> None:
    # Both write addresses with account names, and Apprise the text, to their logs; the log is allow-listed.
    for name in ("apprise", "urllib3"):
        logging.getLogger(name).disabled = True
    logging.getLogger("urllib3.connectionpool").disabled = True


def _provider(address: str, destination: str) -> "NotifyBase":
    # Imported where it is used: only who sends through it pays the second and 45 MB it takes.
    from apprise import Apprise

    base, mark, options = address.partition("?")
    provider = Apprise.instantiate(f"{base.rstrip('/')}/{destination}{mark}{options}", suppress_exceptions=True)
    if provider is None:
        raise ProviderAddressNotValid
    return provider


def _notify(address: str, destination: str, text: str) -> bool:
    try:
        return bool(_provider(address, destination).notify(body=text, body_format="text"))
    except Exception:  # noqa: BLE001 - a hundred plugins, each may fail in its own way
        return False
