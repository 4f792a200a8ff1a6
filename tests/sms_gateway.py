"""An SMS gateway in a process of its own, as a provider's would be, and the message book it keeps.

`python -m tests.sms_gateway FILE` takes messages over HTTP, adds each as a line of JSON to FILE, and prints its port.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SmsGateway:
    """Where it takes messages, and what it took."""

    url: str
    book: Path

    def texts(self, number: str) -> list[str]:
        """The messages to a number, in the order they came."""
        messages = [json.loads(line) for line in self.book.read_text(encoding="utf-8").splitlines()]
        return [message["text"] for message in messages if message["destination"] == number]


@asynccontextmanager
async def running_sms_gateway(directory: Path) -> AsyncIterator[SmsGateway]:
    """Start the process; it ends with the block."""
    book = directory / "messages.jsonl"
    book.touch()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.sms_gateway", str(book), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        yield SmsGateway(f"http://127.0.0.1:{port}/sms", book)
    finally:
        process.kill()
        await process.wait()


def serve(book: Path) -> None:
    """Take messages until the process is ended."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with book.open("a", encoding="utf-8") as lines:  # one write each, so that no line is torn
                lines.write(json.dumps(message) + "\n")
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
