"""Things tests start from, made by the operations that make them in earnest."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from aval.domain.integrator import IntegratorSettings
from aval.domain.keyring import Key, Keyring, Purpose
from aval.domain.money import ZERO, Brl
from aval.http.metrics_view import HttpMetrics
from aval.http.parts import HttpSettings, Parts
from aval.operations.create_account import create_account
from aval.operations.create_admin_key import create_admin_key
from aval.operations.create_approver import create_approver
from aval.operations.create_credential import SCOPES, NewCredential, create_credential
from aval.operations.create_integrator import create_integrator
from aval.operations.fresh import digits, new_cpf, new_phone
from aval.operations.grant_powers import grant_powers
from aval.operations.post_entry import EntryRequest, post_entry
from aval.operations.record_act import Author
from aval.operations.redemption_desk import PurchaseHooks, RedemptionDesk
from aval.operations.register_contact import register_contact
from aval.operations.request_purchase import PurchaseRules
from aval.operations.request_transfer import Rules
from aval.operations.seed_sandbox import BALANCE, POWERS
from aval.operations.transfer_desk import DeskSettings, TransferDesk
from aval.ports import Rail, RailTarget
from aval.rails.sandbox import SandboxRail
from aval.storage.account_approvers import Grant
from aval.storage.accounts import Account, AccountData
from aval.storage.approvers import Approver
from aval.storage.credentials import find_principal_by_api_key_hashes
from aval.storage.database import Database
from aval.storage.integrators import StoredIntegrator

AUTHOR = Author("admin:tests", "tests")
numbers = count(1)


def make_keyring() -> Keyring:
    """One key for each purpose, the same in every call and good enough for a keys file."""
    made_at = datetime(2026, 1, 1, tzinfo=UTC)
    return Keyring(Key(purpose, f"{purpose.value}-1", _secret(purpose), made_at) for purpose in Purpose)


@cache
def _secret(purpose: Purpose) -> bytes:
    if purpose is Purpose.ACCESS_TOKEN:
        return generate_private_key(65_537, 2_048).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return hashlib.sha256(f"tests {purpose.value}".encode()).digest()


class KeyringHolder:
    """A keyring source whose keys a test may swap."""

    def __init__(self, keyring: Keyring | None = None) -> None:
        self.keyring = keyring or make_keyring()

    def current(self) -> Keyring:
        return self.keyring


async def make_integrator(db: Database, *, mode: str = "sandbox", **settings: Any) -> StoredIntegrator:
    """An integrator; live ones are made as in development, so every setting may be given."""
    given = {"name": "Loja Exemplo", "ispb": "12345678", "mode": mode, **settings}
    integrator, _ = await create_integrator(
        db, settings=IntegratorSettings.of(given), keyring=make_keyring(), is_production=False, author=AUTHOR
    )
    return integrator


async def make_credential(
    db: Database, integrator_key: UUID, *, scopes: tuple[str, ...] = SCOPES, public_key: str | None = None
) -> NewCredential:
    """A bearer credential, or with a public key one that signs."""
    return await create_credential(
        db,
        integrator_key=integrator_key,
        credential_type="bearer" if public_key is None else "signed",
        scopes=scopes,
        public_key=public_key,
        keyring=make_keyring(),
        author=AUTHOR,
    )


async def make_account(db: Database, integrator_key: UUID, *, balance: Brl = ZERO, **data: str) -> Account:
    """An account, funded if a balance is given."""
    values = {
        "account_branch": "0001",
        "account_number": digits(12),
        "account_digit": "7",
        "owner_document_number": "11222333000181",
        "owner_name": "Loja Exemplo Ltda",
    }
    account = await create_account(
        db, integrator_key=integrator_key, account_key=None, data=AccountData(**values | data), author=AUTHOR
    )
    if balance.centavos:
        request = EntryRequest(account.key, uuid4(), "credit", balance, None)
        await post_entry(db, integrator_key=integrator_key, request=request, author=AUTHOR)
    return account


async def make_approver(
    db: Database,
    integrator_key: UUID,
    *,
    document_number: str | None = None,
    phone: str | None = None,
    email: str | None = None,
) -> Approver:
    """An approver, with the contacts that are given."""
    approver = await create_approver(
        db,
        integrator_key=integrator_key,
        document_number=document_number or new_cpf(),
        name="Ana Exemplo",
        active=True,
        keyring=make_keyring(),
        author=AUTHOR,
    )
    if phone is not None:
        await make_contact(db, integrator_key, approver.key, "sms", phone)
    if email is not None:
        await make_contact(db, integrator_key, approver.key, "email", email)
    return approver


async def make_contact(
    db: Database, integrator_key: UUID, approver_key: UUID, contact_type: Any, destination: str
) -> None:
    await register_contact(
        db,
        integrator_key=integrator_key,
        approver_key=approver_key,
        contact_type=contact_type,
        destination=destination,
        keyring=make_keyring(),
        author=AUTHOR,
    )


async def make_admin_key(db: Database, name: str | None = None) -> str:
    """The secret of a new admin key."""
    _, secret = await create_admin_key(db, name=name or f"admin {next(numbers)}", keyring=make_keyring(), author=AUTHOR)
    return secret


@dataclass(frozen=True)
class Party:
    """An integrator ready to transfer: funded account, approver with both contacts and all powers, API key."""

    integrator: StoredIntegrator
    account: Account
    approver: Approver
    document_number: str
    phone: str
    email: str
    api_key: str = field(repr=False)

    @property
    def key(self) -> UUID:
        """The integrator's key."""
        return self.integrator.key

    @property
    def tfa_info(self) -> dict[str, str]:
        """What a request says of its approver, by SMS."""
        return {"approver_document_number": self.document_number, "contact_type": "sms"}

    def pix(self, **change: Any) -> dict[str, Any]:
        """A manual Pix request, which needs no look-up."""
        target = {
            "account_branch": "0001",
            "account_number": "1234567",
            "account_digit": "8",
            "owner_document_number": "52998224725",
            "owner_name": "Maria Souza",
            "ispb": "87654321",
            "account_type": "checking_account",
        }
        body = {
            "request_control_key": str(uuid4()),
            "pix_transfer_type": "manual",
            "transaction_amount": 202.01,
            "target_account": target,
            "tfa_info": self.tfa_info,
        }
        return body | change

    async def principal(self, db: Database) -> Any:
        """The caller behind the API key, as the edge would find it."""
        async with db.connection() as connection:
            return await find_principal_by_api_key_hashes(connection, make_keyring().credential_hashes(self.api_key))


async def make_party(
    db: Database,
    *,
    mode: str = "sandbox",
    balance: Brl = BALANCE,
    powers: tuple[str, ...] = POWERS,
    max_amount: Brl | None = None,
    **settings: Any,
) -> Party:
    """One of everything an integrator needs to transfer."""
    integrator = await make_integrator(db, mode=mode, **settings)
    account = await make_account(db, integrator.key, balance=balance)
    document_number, phone, email = new_cpf(), new_phone(), f"ana.{digits(8)}@example.com"
    approver = await make_approver(db, integrator.key, document_number=document_number, phone=phone, email=email)
    await grant_powers(
        db,
        integrator_key=integrator.key,
        account_key=account.key,
        grant=Grant(approver.key, powers, max_amount),
        author=AUTHOR,
    )
    credential = await make_credential(db, integrator.key)
    assert credential.api_key is not None
    return Party(integrator, account, approver, document_number, phone, email, credential.api_key)


class SandboxRails:
    """Every integrator's rail is the sandbox's."""

    def rail_of(self, target: RailTarget) -> Rail:
        return SandboxRail()


def make_parts(
    db: Database, *, is_production: bool = False, rules: Rules | None = None, hooks: PurchaseHooks | None = None
) -> Parts:
    """The parts of an API process over a database, with the keys of `make_keyring` and a desk for transfers."""
    settings = HttpSettings(is_production=is_production, has_ops_routes=False, has_access_log=False)
    keyring = KeyringHolder()
    return Parts(
        db=db,
        keyring=keyring,
        rails=SandboxRails(),
        settings=settings,
        metrics=HttpMetrics(),
        desk=TransferDesk(db, keyring, rules or Rules(), DeskSettings()),
        redemption_desk=RedemptionDesk(
            db, keyring, PurchaseRules((rules or Rules()).figures), DeskSettings(), hooks or PurchaseHooks()
        ),
    )


@dataclass(frozen=True)
class Reply:
    """What an application answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The code of an error body."""
        is_json = self.headers.get("content-type", "").startswith("application/json")
        return str(self.json["code"]) if is_json and self.body and "code" in self.json else None


class Client:
    """Calls an ASGI application in this process with one API key."""

    def __init__(self, app: Any, key: str | None = None) -> None:
        self._app = app
        self._key = key

    async def __call__(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **headers: str
    ) -> Reply:
        """Send one request; `headers` are written with underscores. A `body` is encoded, `raw` goes as it is."""
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        if self._key is not None:
            sent.setdefault("authorization", f"Bearer {self._key}")
        if content:
            sent |= {"content-type": "application/json", "content-length": str(len(content))} | sent
        return await exchange(self._app, method, path, sent, content)


async def exchange(app: Any, method: str, target: str, headers: dict[str, str], content: bytes) -> Reply:
    """Run one request through an ASGI application."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), text.encode("latin-1")) for name, text in headers.items()],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8321),
    }
    messages = iter([{"type": "http.request", "body": content, "more_body": False}])
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answered = {name.decode(): text.decode("latin-1") for name, text in sent[0]["headers"]}
    return Reply(sent[0]["status"], answered, b"".join(message.get("body", b"") for message in sent[1:]))
