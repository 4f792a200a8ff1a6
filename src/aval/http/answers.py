"""Writing an answer to the connection: the headers every answer has, and a polite end where the body was not read."""

import asyncio

from aval.http.edge import Answer
from aval.http.limits import Line, Receive, Send

LINGER_S = 1.0
LINGER_BYTES_MAX = 4 * 1024 * 1024

# promises.md §5; HSTS for one year.
SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"strict-transport-security", b"max-age=31536000"),
    (b"x-content-type-options", b"nosniff"),
)
_JSON: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json; charset=utf-8"), *SECURITY_HEADERS)


def header_lines(answer: Answer, correlation_id: str) -> list[tuple[bytes, bytes]]:
    """All headers of an answer, in an order that depends on nothing but their names."""
    lines = list(_JSON if answer.body else SECURITY_HEADERS)
    if answer.headers:
        own = [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in answer.headers.items()]
        replaced = {name for name, _ in own}
        lines = [line for line in lines if line[0] not in replaced] + own
    lines.append((b"x-correlation-id", correlation_id.encode("latin-1")))
    if answer.status != 204:
        lines.append((b"content-length", str(len(answer.body)).encode()))
    return lines


_JSON_LINES = b"".join(b"%b: %b\r\n" % line for line in _JSON)


async def send_answer(send: Send, line: Line | None, answer: Answer, correlation_id: str) -> None:
    """Send an answer; the connection stays usable."""
    if line is not None and answer.body and not answer.headers:
        ending = f"x-correlation-id: {correlation_id}\r\ncontent-length: {len(answer.body)}\r\n\r\n"
        if line.answer(answer.status, _JSON_LINES + ending.encode("latin-1"), answer.body):
            return
    await send(
        {"type": "http.response.start", "status": answer.status, "headers": header_lines(answer, correlation_id)}
    )
    await send({"type": "http.response.body", "body": answer.body})


async def send_and_close(send: Send, receive: Receive, answer: Answer, correlation_id: str) -> None:
    """Send an answer while the body is still on its way, then read a little of it on before the connection ends.

    Closing at once would make the operating system reset the connection, and the client could lose the answer.
    """
    answer = Answer(answer.status, answer.body, {**answer.headers, "connection": "close"})
    await send(
        {"type": "http.response.start", "status": answer.status, "headers": header_lines(answer, correlation_id)}
    )
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    await _linger(receive)
    await send({"type": "http.response.body", "body": b""})


async def _linger(receive: Receive) -> None:
    left = LINGER_BYTES_MAX
    try:
        async with asyncio.timeout(LINGER_S):
            while left > 0:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))
    except TimeoutError:
        return
