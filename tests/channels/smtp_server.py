"""A mail server of its own process: `smtp_server.py PORT [CERTIFICATE] [KEY] [MODE]`; tells each mail as a JSON line.

What it answers depends on the local part: `refused` 550, `later` 451, `full` 452 after the data, `hangup` nothing,
`closing` 421, `slow` silence. Logging in takes `aval` and `s3cret:/`.
"""

import asyncio
import json
import ssl
import sys
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

ANSWERS = {"refused": "550 no such mailbox", "later": "451 try later", "closing": "421 closing"}


class Mailbox:
    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        local = address.partition("@")[0]
        if local == "hangup":
            assert server.transport is not None
            server.transport.close()
        if local == "slow":
            await asyncio.sleep(60)
        if local not in ANSWERS:
            envelope.rcpt_tos.append(address)
        return ANSWERS.get(local, "250 OK")

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if envelope.rcpt_tos[0].startswith("full"):
            return "452 disk full"
        assert isinstance(envelope.content, bytes) and server.transport is not None
        told = {
            "peer": session.peer[1] if session.peer else None,
            "sender": envelope.mail_from,
            "recipients": envelope.rcpt_tos,
            "is_encrypted": server.transport.get_extra_info("cipher") is not None,
            "login": getattr(session, "auth_data", None) and session.auth_data.login.decode(),
            "content": envelope.content.decode("ascii"),
        }
        print(json.dumps(told), flush=True)
        return "250 taken"


def authenticator(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    known = isinstance(data, LoginPassword) and (data.login, data.password) == (b"aval", b"s3cret:/")
    return AuthResult(success=known, handled=known, auth_data=data)


def main(port: int, mode: str, certificate: str = "", key: str = "") -> None:
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    controller = Controller(
        Mailbox(),
        hostname="127.0.0.1",
        port=port,
        ssl_context=context if mode == "tls" else None,
        tls_context=context if mode == "starttls" else None,
        require_starttls=mode == "starttls",
        authenticator=authenticator,
        auth_require_tls=False,
        auth_required=mode == "login",
    )
    controller.start()
    print("ready", flush=True)
    sys.stdin.read()  # ends with the test
    controller.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
