"""SMS through Apprise and through a plain gateway, each against a real HTTP server on loopback."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from apprise import NotifyBase
from apprise.manager_plugins import NotificationManager

from aval.channels import sms
from aval.channels.outbound import OutboundHttp
from aval.channels.sms import AppriseSms, GatewaySms, ProviderAddressNotValid
from aval.ports import Delivery, DeliveryOutcome, OutgoingMessage

# Apprise imports every plugin it has, one of which asks for a module that Python 3.13 dropped.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

MESSAGE = OutgoingMessage(
    integrator_key=UUID(int=1),
    message_key=UUID("84e1c5d7-0a3b-4f69-b28d-6c97f2e0a513"),
    destination="+5511987651234",
    subject=None,
    text="R$ 202,01 p/ Maria Souza (***982247**) Pix, cta ***567-8. Codigo 1, 5 min, nao repasse: 7K3M9Q",
    html=None,
    correlation_id="order-1207",
)
DELIVERED = Delivery(DeliveryOutcome.DELIVERED)
PROVIDER_FAILED = Delivery(DeliveryOutcome.FAILED, "provider_failed")


@dataclass
class Gateway:
    port: int = 0
    status: int = 200
    delay_s: float = 0
    calls: list[tuple[str, Mapping[str, str], Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/sms"

    @property
    def apprise(self) -> str:
        return f"json://sender:s3cret@127.0.0.1:{self.port}/sms"

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.calls.append((request.path, request.headers.copy(), await request.json()))
        await asyncio.sleep(self.delay_s)
        return web.Response(status=self.status, headers={"Location": "/"})


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    running = Gateway()
    runner = web.ServerRunner(web.Server(running.serve, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    running.port = runner.addresses[0][1]
    yield running
    await runner.cleanup()


@asynccontextmanager
async def gateway_channel(gateway: Gateway, **options: Any) -> AsyncIterator[GatewaySms]:
    outbound = OutboundHttp([], True)
    channel = GatewaySms(outbound, gateway.url, **options)
    try:
        yield channel
    finally:
        await channel.close()
        await outbound.close()


async def test_the_gateway_gets_key_destination_and_text(gateway: Gateway) -> None:
    async with gateway_channel(gateway, key="k3y") as channel:
        assert await channel.send(MESSAGE) == DELIVERED
    [(path, headers, body)] = gateway.calls
    assert path == "/sms"
    assert body == {
        "message_key": "84e1c5d7-0a3b-4f69-b28d-6c97f2e0a513",
        "destination": "+5511987651234",
        "text": MESSAGE.text,
    }
    assert headers["Authorization"] == "Bearer k3y"
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Correlation-Id"] == "order-1207"


async def test_a_gateway_without_key_gets_no_authorization(gateway: Gateway) -> None:
    async with gateway_channel(gateway) as channel:
        await channel.send(MESSAGE)
    assert "Authorization" not in gateway.calls[0][1]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, DeliveryOutcome.DELIVERED),
        (204, DeliveryOutcome.DELIVERED),
        (302, DeliveryOutcome.FAILED),
        (400, DeliveryOutcome.REFUSED),
        (401, DeliveryOutcome.FAILED),
        (403, DeliveryOutcome.FAILED),
        (404, DeliveryOutcome.FAILED),
        (410, DeliveryOutcome.REFUSED),
        (408, DeliveryOutcome.FAILED),
        (422, DeliveryOutcome.REFUSED),
        (429, DeliveryOutcome.FAILED),
        (500, DeliveryOutcome.FAILED),
        (503, DeliveryOutcome.FAILED),
    ],
)
async def test_the_status_of_the_gateway_decides(gateway: Gateway, status: int, outcome: DeliveryOutcome) -> None:
    gateway.status = status
    async with gateway_channel(gateway) as channel:
        assert (await channel.send(MESSAGE)).outcome == outcome
    assert len(gateway.calls) == 1


async def test_a_silent_gateway_is_worth_another_try(gateway: Gateway) -> None:
    gateway.delay_s = 60
    async with gateway_channel(gateway, timeout=timedelta(seconds=0.2)) as channel:
        assert await channel.send(MESSAGE) == Delivery(DeliveryOutcome.FAILED, "timeout")


async def test_apprise_carries_the_text_to_the_destination(gateway: Gateway) -> None:
    channel = AppriseSms([gateway.apprise + "?method=post"])
    assert await channel.send(MESSAGE) == DELIVERED
    await channel.close()
    [(path, _, body)] = gateway.calls
    assert path.rstrip("/") == "/sms/+5511987651234"
    assert (body["title"], body["message"]) == ("", MESSAGE.text)


async def test_the_next_provider_is_asked_when_one_fails(gateway: Gateway) -> None:
    channel = AppriseSms([f"json://127.0.0.1:{gateway.port + 1 if gateway.port < 65535 else 1}/x", gateway.apprise])
    assert await channel.send(MESSAGE) == DELIVERED
    assert len(gateway.calls) == 1


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_apprise_never_refuses_for_good(gateway: Gateway, status: int) -> None:
    gateway.status = status
    assert await AppriseSms([gateway.apprise]).send(MESSAGE) == PROVIDER_FAILED


async def test_a_silent_provider_is_given_up(gateway: Gateway) -> None:
    gateway.delay_s = 1
    channel = AppriseSms([gateway.apprise], timeout=timedelta(seconds=0.2))
    assert await channel.send(MESSAGE) == PROVIDER_FAILED


async def test_a_text_apprise_cannot_take_is_a_failure(gateway: Gateway) -> None:
    assert await AppriseSms([gateway.apprise]).send(replace(MESSAGE, text="")) == PROVIDER_FAILED
    assert gateway.calls == []


@pytest.mark.parametrize("address", ["", "nothing", "unknown://x", "twilio://too-short"])
def test_an_address_apprise_does_not_know_ends_the_start(address: str) -> None:
    with pytest.raises(ProviderAddressNotValid) as refused:
        AppriseSms([address])
    assert str(refused.value) == ""


@pytest.mark.parametrize(
    "address",
    [
        f"twilio://AC{'0' * 32}:{'f' * 32}@15550001111",
        "vonage://12345678:abcdefgh12345678@15550001111/",
        "sns://AKIAEXAMPLE/secretkeyexample/sa-east-1",
    ],
)
def test_well_known_providers_take_the_destination_behind_their_address(address: str) -> None:
    AppriseSms([address])
    assert "5511987651234" in sms._provider(address, "+5511987651234").url()


async def test_nothing_of_provider_or_text_is_logged(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    gateway.status = 500
    channel = AppriseSms([gateway.apprise])
    await channel.send(MESSAGE)
    gateway.status = 200
    await channel.send(MESSAGE)
    told = json.dumps([record.getMessage() for record in caplog.records])
    assert not any(secret in told for secret in ("s3cret", "sender", "7K3M9Q", "98765", "/sms"))
    assert "s3cret" not in repr(channel)


class BrokenProvider(NotifyBase):
    service_name = "Broken"
    protocol = "avalbroken"
    templates = ("{schema}://{host}",)

    def url(self, *_: Any, **__: Any) -> str:
        return "avalbroken://"

    def send(self, *_: Any, **__: Any) -> bool:
        raise ZeroDivisionError

    @staticmethod
    def parse_url(url: str, *_: Any, **__: Any) -> dict[str, Any]:
        parsed: dict[str, Any] = NotifyBase.parse_url(url, verify_host=False)
        return parsed


async def test_a_provider_that_breaks_is_a_provider_that_failed() -> None:
    NotificationManager().add(BrokenProvider, schemas={"avalbroken"})
    assert await AppriseSms(["avalbroken://x"]).send(MESSAGE) == PROVIDER_FAILED
