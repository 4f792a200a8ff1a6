"""§4.2 over a socket: framing, slowness, proxies, clients that go away."""

import asyncio
import json

from tests.http.probe import said
from tests.proof.cases import framing
from tests.proof.cases.household import Household
from tests.proof.cases.trial import trial_of
from tests.world import World


async def test_framing(world: World, home: Household, port: int) -> None:
    target = home.path("/account/{account_key}/ted/{ted_key}/validate_token")
    before = await world.snapshot()
    with trial_of(world, at_least=0) as trial:
        trial.needles.add("7K3M9Q")
        for note, (pieces, status, code) in framing.requests(target, home.party.api_key).items():
            reply = framing.reply_of(await said(port, pieces))
            trial.expect(note, (reply.status, reply.code or ""), (status, code))
            trial.expect(note, reply.headers.get("connection", "").lower(), "close")
            trial.faults += world.contract.faults("PUT", target, reply) if reply.body else []
            trial.done += 1
        await trial.unchanged(before)


async def test_slow_clients_are_cut(world: World, home: Household, port: int) -> None:
    target = home.path("/account/{account_key}/ted/{ted_key}/validate_token")
    lines = (f"Authorization: Bearer {home.party.api_key}", "Content-Type: application/json", "Content-Length: 18")
    before = await world.snapshot()
    for pieces in ([b""], [b"PUT / HT"], [framing.head(*lines, target=target)[:-2]]):
        answer = await said(port, pieces)  # returns only when the connection has ended
        assert not answer or answer.startswith(b"HTTP/1.1 408 ")
    answer = await said(port, [framing.head(*lines, target=target), b'{"token"'])
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert await world.snapshot() == before


async def test_headers_that_mean_nothing(world: World, home: Household) -> None:
    """No header changes the method, and no unlisted proxy who is asking."""
    path, before = home.path("/webhook_endpoints/{webhook_endpoint_key}"), await world.snapshot()
    with trial_of(world, at_least=4) as trial:
        for name in ("x_http_method_override", "x_http_method", "x_method_override"):
            call = world.call("POST", path, {}, key=home.party.api_key, **{name: "DELETE"})
            await trial.refused(name, call, 405, "QIT000940")
        forwarded = {
            "x_forwarded_for": "10.0.0.1",
            "x_forwarded_proto": "http",
            "x_forwarded_host": "x",
            "forwarded": "for=x",
        }
        call = world.call("GET", "/webhook_endpoints", key=home.party.api_key, **forwarded)
        await trial.accepted("forwarded", call, 200)
        await trial.unchanged(before)


async def test_a_client_that_goes_away_gets_its_answer_later(world: World, home: Household, port: int) -> None:
    """All or nothing: the same Idempotency-Key tells what became of it, and one comparison was made."""
    with trial_of(world, at_least=0) as trial:
        for number in range(10):
            key = await world.request(home.party, "ted")
            target = f"/account/{home.keys['account_key']}/ted/{key}/validate_token"
            token = await world.token(home.party, key) if number % 2 else "UUUUUU"
            body = json.dumps({"token": token}).encode()
            lines = [f"Authorization: Bearer {home.party.api_key}", "Content-Type: application/json"]
            lines += [f"Content-Length: {len(body)}", "Idempotency-Key: gone"]
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(framing.head(*lines, target=target) + body)
            await writer.drain()
            await asyncio.sleep(0.002 * number)
            writer.close()
            reply = await world.validate(home.party, "ted", key, token, idempotency_key="gone")
            trial.expect(number, (reply.status, reply.code), (202, None) if number % 2 else (400, "TED000084"))
            rows = await world.fetch("select from comparisons where operation_id = $1", key)
            trial.expect(number, len(rows), 1)
