"""E-mail over SMTP, with a few connections kept open."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.errors import MessageError
from email.header import Header
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, Policy
from email.utils import format_datetime, parseaddr
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import aiosmtplib

from aval.ports import Delivery, DeliveryOutcome, OutgoingMessage

TIMEOUT = timedelta(seconds=10)
CONNECTIONS_MAX = 8
SERVICE_CLOSING = 421

Security = Literal["none", "starttls", "tls"]
_SCHEMES: dict[str, tuple[Security, int]] = {"smtp": ("none", 25), "starttls": ("starttls", 587), "smtps": ("tls", 465)}


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """Where e-mail goes and who sends it; `starttls` insists on it."""

    host: str
    port: int
    sender: str  # `Name <address>` or an address
    security: Security = "starttls"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout: timedelta = TIMEOUT
    connections_max: int = CONNECTIONS_MAX

    @classmethod
    def from_url(cls, url: str, sender: str) -> "SmtpSettings":
        """Read `smtp://`, `starttls://` or `smtps://` with optional `user:password@` and port."""
        parts = urlsplit(url)
        security, port = _SCHEMES[parts.scheme]
        return cls(
            host=parts.hostname or "localhost",
            port=parts.port or port,
            sender=sender,
            security=security,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )


class SmtpEmail:
    """A channel to one mail server. A 5xx answer to the message refuses it for good; all else is worth another try."""

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings
        self._sender = parseaddr(settings.sender)[1]
        self._slots = asyncio.Semaphore(settings.connections_max)
        self._idle: list[aiosmtplib.SMTP] = []

    async def send(self, message: OutgoingMessage) -> Delivery:
        """Hand over one message within the time-out, over an open connection if there is one."""
        try:
            content = composed(message, self._settings.sender)
        except (ValueError, LookupError, MessageError):
            return Delivery(DeliveryOutcome.REFUSED, "message_not_valid")
        try:
            async with asyncio.timeout(self._settings.timeout.total_seconds()), self._slots:
                return await self._handed_over(message.destination, content)
        except TimeoutError:
            return Delivery(DeliveryOutcome.FAILED, "timeout")
        except aiosmtplib.SMTPAuthenticationError:
            return Delivery(DeliveryOutcome.FAILED, "login_failed")
        except (aiosmtplib.SMTPException, OSError):
            return Delivery(DeliveryOutcome.FAILED, "connection_failed")

    async def close(self) -> None:
        """End the idle connections politely."""
        while self._idle:
            client = self._idle.pop()
            with suppress(aiosmtplib.SMTPException, OSError):
                await client.quit()
            client.close()

    async def _handed_over(self, destination: str, content: bytes) -> Delivery:
        while self._idle:
            client = self._idle.pop()
            # A connection the server gave up while it lay idle is no reason to fail: there is another, or a new one.
            if client.is_connected and (delivery := await self._tried(client, destination, content)) is not None:
                return delivery
        delivery = await self._tried(await self._connected(), destination, content)
        return delivery or Delivery(DeliveryOutcome.FAILED, "connection_lost")

    async def _tried(self, client: aiosmtplib.SMTP, destination: str, content: bytes) -> Delivery | None:
        is_usable = False
        try:
            await client.sendmail(self._sender, [destination], content)
            is_usable = True
            return Delivery(DeliveryOutcome.DELIVERED)
        except aiosmtplib.SMTPServerDisconnected:
            return None
        except (aiosmtplib.SMTPRecipientsRefused, aiosmtplib.SMTPResponseException) as failure:
            code = _code_of(failure)
            is_usable = client.is_connected and code != SERVICE_CLOSING
            if code == SERVICE_CLOSING:
                return None
            outcome = DeliveryOutcome.REFUSED if 500 <= code < 600 else DeliveryOutcome.FAILED
            return Delivery(outcome, f"smtp_{code}")
        finally:
            if is_usable:
                self._idle.append(client)
            else:
                client.close()

    async def _connected(self) -> aiosmtplib.SMTP:
        settings = self._settings
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            username=settings.username,
            password=settings.password,
            use_tls=settings.security == "tls",
            start_tls=settings.security == "starttls",
            timeout=settings.timeout.total_seconds(),
        )
        try:
            await client.connect()
        except BaseException:
            client.close()
            raise
        return client


class _OneLineHeader(UnstructuredHeader, BaseHeader):
    # The library would turn a long word, such as a correlation id of 128 characters, into encoded words.
    def fold(self, *, policy: "Policy[Any]") -> str:
        return f"{self.name}: {self}{policy.linesep}"


class _SubjectHeader(UnstructuredHeader, BaseHeader):
    # The library's newer folding moves spaces between encoded words; its older one does not.
    def fold(self, *, policy: "Policy[Any]") -> str:
        header = Header(self, "us-ascii" if self.isascii() else "utf-8", header_name=self.name)
        return f"{self.name}: {header.encode(linesep=policy.linesep)}{policy.linesep}"


_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("x-correlation-id", _OneLineHeader)
_HEADERS.map_to_type("subject", _SubjectHeader)
_POLICY = SMTP.clone(header_factory=_HEADERS, cte_type="7bit")


def composed(message: OutgoingMessage, sender: str) -> bytes:
    """Write an RFC 5322 message in ASCII; raises rather than let a value into the headers.

    Its Message-ID follows from the message key, so a repeated delivery is recognisable.
    """
    email = EmailMessage(policy=_POLICY)
    email["From"] = sender
    email["To"] = Address(addr_spec=message.destination)
    email["Subject"] = message.subject or ""
    email["Date"] = format_datetime(datetime.now(UTC))
    email["Message-ID"] = f"<{message.message_key}@{parseaddr(sender)[1].rpartition('@')[2]}>"
    email["Auto-Submitted"] = "auto-generated"
    email["X-Correlation-Id"] = message.correlation_id
    email.set_content(message.text)
    if message.html is not None:
        email.add_alternative(message.html, subtype="html")
    return email.as_bytes()


def _code_of(failure: aiosmtplib.SMTPRecipientsRefused | aiosmtplib.SMTPResponseException) -> int:
    if isinstance(failure, aiosmtplib.SMTPRecipientsRefused):
        return failure.recipients[0].code
    return failure.code
