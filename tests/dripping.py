"""A call whose body is long in coming: the caller is known already, and things happen before it is there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from tests.factories import Reply
from tests.redemption_stage import Headers, RedemptionStage


@asynccontextmanager
async def dripping(
    stage: RedemptionStage, method: str, path: str, body: Any, *, headers: Headers
) -> AsyncIterator["asyncio.Future[Reply]"]:
    """Begin a call; its body arrives when this is left, and then there is an answer."""
    is_read, may_end, sent = asyncio.Event(), asyncio.Event(), list[Any]()
    answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    async def receive() -> Any:
        is_read.set()
        await may_end.wait()
        return {"type": "http.request", "body": msgspec.json.encode(body)}

    async def send(message: Any) -> None:
        sent.append(message)

    told = headers | {"content-type": "application/json", "transfer-encoding": "chunked"}
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode(),
        "query_string": b"", "client": None, "headers": [(k.encode(), v.encode()) for k, v in told.items()],
    }  # fmt: skip
    calling = asyncio.create_task(stage.app(scope, receive, send))
    await is_read.wait()
    yield answered
    may_end.set()
    await calling
    answered.set_result(Reply(sent[0]["status"], {}, sent[1]["body"]))
