"""The SMTP channel against a mail server in another process."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email import message_from_string
from email.message import EmailMessage
from email.policy import SMTP
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aval.channels.email import SmtpEmail, SmtpSettings, composed
from aval.ports import Delivery, DeliveryOutcome, OutgoingMessage

SERVER = Path(__file__).with_name("smtp_server.py")
MESSAGE = OutgoingMessage(
    integrator_key=UUID(int=1),
    message_key=UUID("84e1c5d7-0a3b-4f69-b28d-6c97f2e0a513"),
    destination="maria@example.com",
    subject="R$ 202,01 para João 😀: código 1",
    text="R$ 202,01 para João\n\nO código 1 vale 5 minutos: 7K3M9Q",
    html="<p>R$ 202,01 para João</p>\n<p>O código 1 vale 5 minutos: 7K3M9Q</p>",
    correlation_id="order-1207",
)
DELIVERED = Delivery(DeliveryOutcome.DELIVERED)


def failed(detail: str) -> Delivery:
    return Delivery(DeliveryOutcome.FAILED, detail)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass
class MailServer:
    port: int
    process: subprocess.Popen[str]

    def next_mail(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        mail: dict[str, Any] = json.loads(self.process.stdout.readline())
        return mail


@contextmanager
def mail_server(port: int | None = None, mode: str = "plain", *certificate: str) -> Iterator[MailServer]:
    port = port or free_port()
    arguments = [sys.executable, str(SERVER), str(port), mode, *certificate]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield MailServer(port, process)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    with mail_server() as running:
        yield running


def settings_of(port: int, **changes: Any) -> SmtpSettings:
    plain = SmtpSettings(host="127.0.0.1", port=port, sender="Açaí Pagamentos <aval@example.com>", security="none")
    return replace(plain, **changes)


@asynccontextmanager
async def channel_to(port: int, **changes: Any) -> AsyncIterator[SmtpEmail]:
    channel = SmtpEmail(settings_of(port, **changes))
    try:
        yield channel
    finally:
        await channel.close()


def read(content: str) -> EmailMessage:
    message = message_from_string(content, _class=EmailMessage, policy=SMTP)
    assert isinstance(message, EmailMessage)
    return message


async def test_a_message_arrives_with_text_and_html_and_a_message_id_of_its_key(server: MailServer) -> None:
    async with channel_to(server.port) as channel:
        assert await channel.send(MESSAGE) == DELIVERED
        assert await channel.send(MESSAGE) == DELIVERED
    mail, again = server.next_mail(), server.next_mail()
    message = read(mail["content"])
    assert (mail["sender"], mail["recipients"]) == ("aval@example.com", ["maria@example.com"])
    assert message["From"] == "Açaí Pagamentos <aval@example.com>"
    assert message["To"] == "maria@example.com"
    assert message["Subject"] == MESSAGE.subject
    assert message["Message-ID"] == "<84e1c5d7-0a3b-4f69-b28d-6c97f2e0a513@example.com>"
    assert message["X-Correlation-Id"] == "order-1207"
    assert abs(datetime.now(UTC) - message["Date"].datetime) < timedelta(minutes=5)
    text, page = message.get_body(["plain"]), message.get_body(["html"])
    assert text is not None and text.get_content().replace("\r\n", "\n") == MESSAGE.text + "\n"
    assert page is not None and page.get_content().replace("\r\n", "\n") == f"{MESSAGE.html}\n"
    assert read(again["content"])["Message-ID"] == message["Message-ID"]


@pytest.mark.parametrize(
    ("local", "delivery"),
    [
        ("refused", Delivery(DeliveryOutcome.REFUSED, "smtp_550")),
        ("later", failed("smtp_451")),
        ("full", failed("smtp_452")),
        ("hangup", failed("connection_lost")),
        ("closing", failed("connection_lost")),
        ("slow", failed("timeout")),
        ("João", Delivery(DeliveryOutcome.REFUSED, "message_not_valid")),
        ("a\r\nBcc: b", Delivery(DeliveryOutcome.REFUSED, "message_not_valid")),
        ("a@example.com, b", Delivery(DeliveryOutcome.REFUSED, "message_not_valid")),
    ],
)
async def test_what_the_server_says_decides_and_the_next_message_still_arrives(
    server: MailServer, local: str, delivery: Delivery
) -> None:
    async with channel_to(server.port, timeout=timedelta(seconds=1.5 if local == "slow" else 10)) as channel:
        assert await channel.send(replace(MESSAGE, destination=f"{local}@example.com")) == delivery
        assert await channel.send(replace(MESSAGE, subject=local.split()[0])) == DELIVERED
    assert read(server.next_mail()["content"])["Subject"] == local.split()[0]


async def test_an_empty_destination_is_refused(server: MailServer) -> None:
    async with channel_to(server.port) as channel:
        refused = Delivery(DeliveryOutcome.REFUSED, "message_not_valid")
        assert await channel.send(replace(MESSAGE, destination="")) == refused


async def test_few_connections_carry_many_messages(server: MailServer) -> None:
    async with channel_to(server.port, connections_max=2) as channel:
        assert await asyncio.gather(*(channel.send(MESSAGE) for _ in range(20))) == [DELIVERED] * 20
        assert await channel.send(MESSAGE) == DELIVERED
    assert len({server.next_mail()["peer"] for _ in range(21)}) <= 2


async def test_a_server_that_came_back_is_reached_again() -> None:
    with mail_server() as first:
        channel = SmtpEmail(settings_of(first.port))
        assert await channel.send(MESSAGE) == DELIVERED
    assert await channel.send(MESSAGE) == failed("connection_failed")
    with mail_server(first.port) as second:
        assert await channel.send(MESSAGE) == DELIVERED
        assert read(second.next_mail()["content"])["To"] == "maria@example.com"
        second.process.kill()
        await channel.close()


@pytest.mark.parametrize(
    ("password", "delivery"), [("s3cret:/", DELIVERED), ("wrong", failed("login_failed"))], ids=["right", "wrong"]
)
async def test_logging_in_is_no_matter_of_the_message(password: str, delivery: Delivery) -> None:
    with mail_server(None, "login") as server:
        async with channel_to(server.port, username="aval", password=password) as channel:
            assert await channel.send(MESSAGE) == delivery
        if delivery == DELIVERED:
            assert server.next_mail()["login"] == "aval"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    directory = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(directory / "certificate.pem"), str(directory / "key.pem")


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("is_trusted", [True, False])
async def test_a_secured_server_must_be_trusted(
    security: str, is_trusted: bool, certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    with mail_server(None, security, *certificate) as server:
        async with channel_to(server.port, security=security) as channel:
            assert await channel.send(MESSAGE) == (DELIVERED if is_trusted else failed("connection_failed"))
        if is_trusted:
            assert server.next_mail()["is_encrypted"]


async def test_a_server_without_starttls_gets_nothing_when_it_is_asked_for(server: MailServer) -> None:
    async with channel_to(server.port, security="starttls") as channel:
        assert await channel.send(MESSAGE) == failed("connection_failed")


@pytest.mark.parametrize(
    "subject",
    ["", "R$ 1,00 para " + "x" * 150, "R$ 1,00 para " + "maria souza " * 20 + "lima", "João Á 😀" * 30, "ã" * 300],
)
def test_a_subject_of_any_length_reads_as_it_was_written(subject: str) -> None:
    content = composed(replace(MESSAGE, subject=subject, correlation_id="c" * 128), "aval@example.com").decode("ascii")
    message = read(content)
    assert message["Subject"] == subject
    assert message["X-Correlation-Id"] == "c" * 128
    assert f"X-Correlation-Id: {'c' * 128}\r\n" in content


@pytest.mark.parametrize("field", ["subject", "correlation_id", "destination"])
@pytest.mark.parametrize("injected", ["a\r\nBcc: b@example.com", "a\nX-B: c", "a\r\rX-B: c"])
def test_no_value_reaches_into_the_headers(field: str, injected: str) -> None:
    changes: dict[str, Any] = {field: injected}
    with pytest.raises(ValueError):
        composed(replace(MESSAGE, **changes), "aval@example.com")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example.com", ("mail.example.com", 25, "none", None, None)),
        ("smtps://aval:p%40ss%2F@mail.example.com", ("mail.example.com", 465, "tls", "aval", "p@ss/")),
        ("starttls://aval:x@127.0.0.1:2525", ("127.0.0.1", 2525, "starttls", "aval", "x")),
        ("starttls://mail.example.com", ("mail.example.com", 587, "starttls", None, None)),
    ],
)
def test_settings_are_read_from_an_address(url: str, expected: tuple[Any, ...]) -> None:
    read_settings = SmtpSettings.from_url(url, "aval@example.com")
    found = (
        read_settings.host,
        read_settings.port,
        read_settings.security,
        read_settings.username,
        read_settings.password,
    )
    assert found == expected
    assert "p@ss" not in repr(read_settings)


def test_a_message_without_html_is_plain_text() -> None:
    message = read(composed(replace(MESSAGE, html=None), "aval@example.com").decode("ascii"))
    assert message.get_content_type() == "text/plain"
