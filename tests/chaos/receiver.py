"""An integrator's webhook receiver as a program of its own.

`python tests/chaos/receiver.py` prints one JSON line with its `url` when it listens. Signatures are verified with the
`standardwebhooks` library, not with ours. Whatever comes is written down before it is answered, so a delivery whose
answer is a fault has been seen.

    POST /hooks/{name}    a webhook for one integrator
    PUT /control          {"secrets": {name: whsec_…}, "failing": 0.05}
    GET /seen             what came
"""

import argparse
import asyncio
import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

KINDS = ("pix_transfer", "ted", "pix_transfer_batch", "ted_batch")
KEYS, STATUSES = [f"{kind}_key" for kind in KINDS], [f"{kind}_status" for kind in KINDS]


class Receiver:
    """What it is told, and what it has seen."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.secrets: dict[str, str] = {}
        self.failing = 0.0
        self.events: dict[str, dict[str, Any]] = {}
        self.counts = {"bad_signatures": 0, "changed_bodies": 0}

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/hooks/{name}", self.take)
        app.router.add_put("/control", self.control)
        app.router.add_get("/seen", self.tell)
        return app

    async def take(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await request.read()
        try:
            Webhook(self.secrets[name]).verify(body, dict(request.headers), json_parse=False)
        except WebhookVerificationError:
            self.counts["bad_signatures"] += 1
            return web.Response(status=401)
        self._note(name, request.headers["webhook-id"], body)
        return web.Response(status=500 if self.chance.random() < self.failing else 204)

    def _note(self, name: str, event_id: str, body: bytes) -> None:
        told, digest = json.loads(body), hashlib.sha256(body).hexdigest()
        data = told["data"]
        seen = self.events.setdefault(
            event_id,
            {
                "name": name,
                "sequence": told["sequence"],
                "operation_key": next(data[name] for name in KEYS if name in data),
                "status": next(data[name] for name in STATUSES if name in data),
                "digest": digest,
                "times": 0,
            },
        )
        seen["times"] += 1
        self.counts["changed_bodies"] += seen["digest"] != digest or told["event_id"] != event_id

    async def control(self, request: web.Request) -> web.Response:
        told = await request.json()
        self.secrets |= told.get("secrets", {})
        self.failing = told.get("failing", self.failing)
        return web.Response(status=204)

    async def tell(self, _: web.Request) -> web.Response:
        return web.json_response({"events": self.events, **self.counts})


async def _serve(seed: int) -> None:
    runner = web.AppRunner(Receiver(seed).app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"}), flush=True)
    await asyncio.Event().wait()


@contextmanager
def running_receiver(seed: int) -> Iterator[str]:
    """Start the program; gives its URL and ends it."""
    command = [sys.executable, str(Path(__file__)), "--seed", str(seed)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    asyncio.run(_serve(parser.parse_args().seed))
