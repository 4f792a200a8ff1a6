"""The HTTP client that is loaded late calls as the one that is loaded at once."""

import asyncio
import subprocess
import sys
from datetime import timedelta

from aiohttp import web

from aval.channels.late_outbound import LateOutbound
from aval.ports import OutboundCall


def _call(url: str) -> OutboundCall:
    return OutboundCall("GET", url, {}, b"", timedelta(seconds=5))


async def test_calls_that_come_first_together_share_one_client(unused_tcp_port: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    outbound = LateOutbound((), True)
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    answers = await asyncio.gather(*(outbound.call(_call(url)) for _ in range(3)))
    assert [(each.status, each.body) for each in answers] == [(200, b"here")] * 3
    await outbound.close()
    await runner.cleanup()


async def test_its_rules_hold_for_targets() -> None:
    outbound = LateOutbound((), False)
    answer = await outbound.call(_call("https://127.0.0.1/"))
    assert (answer.status, answer.error) == (None, "target_not_allowed")
    await outbound.close()


async def test_one_that_was_never_used_is_closed_as_well() -> None:
    await LateOutbound((), False).close()


def test_an_api_process_that_calls_nobody_loads_no_clients() -> None:
    loaded = "import sys, aval.bootstrap, aval.cli.main; print(*{m.partition('.')[0] for m in sys.modules})"
    printed = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout
    assert not {"aiohttp", "aiosmtplib", "apprise", "obstore", "webauthn", "PIL", "pypdf"} & set(printed.split())
