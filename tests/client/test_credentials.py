import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from aval.client import ApiKey, ArgumentNotValid, AvalClient, SigningKey, SyncAvalClient
from aval.http.signed_request import BadSignature, RequestFacts, load_public_key, verify_request
from tests.signing import new_signing_key, pem_of

CLIENT_KEY = "0d9f1a52-7c3e-4b8a-9e21-6a4f3c2d1b08"
URL = "https://aval.example.com"


def private_pem(key, encryption=None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.mark.parametrize("body", [b"", b"{}", b'{"token":"7K3M9Q"}'])
def test_aval_accepts_the_signature_of_exactly_this_request(body) -> None:
    key = new_signing_key()
    signing = SigningKey.from_pem(CLIENT_KEY, private_pem(key))
    headers = signing.headers("PUT", "/account/1?page=2", body)
    assert headers["API-CLIENT-KEY"] == CLIENT_KEY
    public_key = load_public_key(pem_of(key))

    def verify(method: str, target: str, sent: bytes):
        facts = RequestFacts(method, target, sent)
        return verify_request(headers["Authorization"], public_key, facts, is_sha256_required=True)

    assert verify("PUT", "/account/1?page=2", body)
    for other in (("GET", "/account/1?page=2", body), ("PUT", "/account/1", body), ("PUT", "/account/1?page=2", b"[]")):
        with pytest.raises(BadSignature):
            verify(*other)


def test_every_signature_is_another_one() -> None:
    signing = SigningKey.from_pem(CLIENT_KEY, private_pem(new_signing_key()))
    assert len({signing.headers("GET", "/x", b"")["Authorization"] for _ in range(20)}) == 20


def test_an_encrypted_key_opens_with_its_password() -> None:
    pem = private_pem(new_signing_key(), BestAvailableEncryption(b"secret"))
    assert SigningKey.from_pem(CLIENT_KEY, pem.decode(), password=b"secret").headers("GET", "/", b"")
    for password in (None, b"other"):
        with pytest.raises(ArgumentNotValid):
            SigningKey.from_pem(CLIENT_KEY, pem, password=password)


@pytest.mark.parametrize("pem", [b"", b"x", private_pem(generate_private_key(SECP256R1()))])
def test_another_key_is_refused(pem) -> None:
    with pytest.raises(ArgumentNotValid) as refused:
        SigningKey.from_pem(CLIENT_KEY, pem)
    assert refused.value.__cause__ is None


def test_a_client_key_that_is_no_uuid_is_refused() -> None:
    with pytest.raises(ArgumentNotValid):
        SigningKey.from_pem("someone", private_pem(new_signing_key()))


@pytest.mark.parametrize("text", ["", " ", "a b", "a\r\nX: y", "ä", "a\x00"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_told(text) -> None:
    with pytest.raises(ArgumentNotValid) as refused:
        ApiKey(text)
    assert str(refused.value) == "api_key: not_printable"


def test_clients_and_credentials_print_no_secret() -> None:
    api_key = ApiKey("aval_test_secret")
    signing = SigningKey.from_pem(CLIENT_KEY, private_pem(new_signing_key()))
    printed = [repr(made(URL, key)) for made in (AvalClient, SyncAvalClient) for key in (api_key, signing)]
    assert printed[0] == "AvalClient('https://aval.example.com:443', ApiKey())"
    assert not any("secret" in text or "PrivateKey" in text for text in printed)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://aval.example.com", "plain_http"),
        ("http://10.0.0.1:8321", "plain_http"),
        ("aval.example.com", "not_scheme_host_port"),
        ("ftp://aval.example.com", "not_scheme_host_port"),
        ("https://user:password@aval.example.com", "not_scheme_host_port"),
        ("https://aval.example.com/api", "not_scheme_host_port"),
        ("https://aval.example.com?x=1", "not_scheme_host_port"),
        ("https://", "not_scheme_host_port"),
        ("https://aval.example.com:99999", "no_url"),
    ],
)
def test_an_address_that_would_show_the_credential_or_is_none_is_refused(url, reason) -> None:
    for client in (AvalClient, SyncAvalClient):
        with pytest.raises(ArgumentNotValid) as refused:
            client(url, ApiKey("aval_test_x"))
        assert str(refused.value) == f"base_url: {reason}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://aval.example.com/", "https://aval.example.com:443"),
        ("http://localhost:8321", "http://localhost:8321"),
        ("http://127.0.0.1", "http://127.0.0.1:80"),
        ("http://[::1]:8321", "http://[::1]:8321"),
    ],
)
def test_addresses_that_are_taken(url, shown) -> None:
    assert shown in repr(SyncAvalClient(url, ApiKey("aval_test_x")))


def test_plain_http_can_be_allowed() -> None:
    client = SyncAvalClient("http://aval.internal:8321", ApiKey("aval_test_x"), is_plain_http_allowed=True)
    assert "http://aval.internal:8321" in repr(client)
