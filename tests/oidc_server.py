"""The process of an OIDC issuer; it imports little, for tests start many.

`python -m tests.oidc_server DIRECTORY` serves `jwks.json` of the directory and prints its port. What lies beside it
says how it fails: `status` (that status), `hang` (no answer). Each request adds a line to `requests`.
"""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HANG_S = 30


def serve(directory: Path) -> None:
    """Serve until the process is ended."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with (directory / "requests").open("a") as asked:
                asked.write(f"{self.path}\n")
            if (directory / "hang").exists():
                time.sleep(HANG_S)
            status = directory / "status"
            body = (directory / "jwks.json").read_bytes()
            self.send_response(int(status.read_text()) if status.exists() else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
