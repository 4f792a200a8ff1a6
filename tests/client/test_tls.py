"""Both clients over TLS: a certificate of one's own authority is accepted where it is named, and nowhere else."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from aval.client import ApiKey, NoAnswer
from tests.client.faulty_server import FaultyServer


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate of 127.0.0.1 with its key, in one file."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM)
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(pem)
    return path


@pytest.fixture
async def tls_url(api, certificate):
    """The API behind TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(FaultyServer(api.url).serve, "127.0.0.1", 0, ssl=context)
    yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_a_named_authority_is_trusted_and_the_connection_kept(tls_url, client_of, party, certificate) -> None:
    aval = client_of(tls_url, ApiKey(party.api_key), tls=ssl.create_default_context(cafile=certificate))
    for _ in range(2):
        assert (await aval.get_account(party.account.key)).key == party.account.key


async def test_an_unknown_certificate_gets_no_credential(tls_url, client_of, party) -> None:
    aval = client_of(tls_url, ApiKey(party.api_key))
    with pytest.raises(NoAnswer) as refused:
        await aval.get_account(party.account.key)
    assert not refused.value.may_have_happened
    assert "Cert" in refused.value.cause
