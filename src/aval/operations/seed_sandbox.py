"""Make one of everything in the sandbox, ready to play with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID, uuid4

from aval.domain.integrator import IntegratorSettings
from aval.domain.keyring import Keyring
from aval.domain.money import Brl
from aval.operations.create_account import create_account
from aval.operations.create_admin_key import create_admin_key
from aval.operations.create_approver import create_approver
from aval.operations.create_credential import SCOPES, NewCredential, create_credential
from aval.operations.create_integrator import create_integrator
from aval.operations.fresh import digits, new_cpf, new_phone, new_signing_key
from aval.operations.grant_powers import grant_powers
from aval.operations.post_entry import EntryRequest, post_entry
from aval.operations.record_act import Author
from aval.operations.register_contact import register_contact
from aval.storage.account_approvers import Grant
from aval.storage.accounts import AccountData
from aval.storage.database import Database

ContactType = Literal["sms", "email"]

POWERS = ("pix_transfer", "pix_transfer_batch", "ted", "ted_batch")
BALANCE = Brl(1_000_000_00)  # spec transfers.md §10


@dataclass(frozen=True, slots=True)
class Seed:
    """Everything a caller of the sandbox needs; the secrets are shown this once."""

    integrator_key: UUID
    account_key: UUID
    approver_document_number: str = field(repr=False)
    approver_phone: str = field(repr=False)
    approver_email: str = field(repr=False)
    admin_key: str = field(repr=False)
    api_key: str = field(repr=False)
    api_client_key: UUID
    private_key_pem: str = field(repr=False)


async def seed_sandbox(
    db: Database, *, keyring: Keyring, author: Author, passkeys: Mapping[str, Any] | None = None
) -> Seed:
    """Make a sandbox integrator with a funded account, an approver and credentials; each call makes another set.

    Each part is made by its own operation and so by its own transaction. `passkeys` are an rp_id and its origins.
    """
    given = {"name": "Loja Exemplo", "ispb": "12345678", "mode": "sandbox", **(passkeys or {})}
    settings = IntegratorSettings.of(given)
    integrator, _ = await create_integrator(db, settings=settings, keyring=keyring, is_production=False, author=author)
    account_key = await _account(db, integrator.key, author)
    person = _Person(document_number=new_cpf(), phone=new_phone(), email=f"aprovador.{digits(8)}@example.com")
    await _approver(db, integrator.key, account_key, person, keyring, author)
    bearer = await _credential(db, integrator.key, "bearer", None, keyring, author)
    private_key, public_key = new_signing_key()
    signed = await _credential(db, integrator.key, "signed", public_key, keyring, author)
    _, admin_key = await create_admin_key(db, name=f"sandbox {integrator.key}", keyring=keyring, author=author)
    assert bearer.api_key is not None and signed.credential.api_client_key is not None
    return Seed(
        integrator_key=integrator.key,
        account_key=account_key,
        approver_document_number=person.document_number,
        approver_phone=person.phone,
        approver_email=person.email,
        admin_key=admin_key,
        api_key=bearer.api_key,
        api_client_key=signed.credential.api_client_key,
        private_key_pem=private_key,
    )


@dataclass(frozen=True, slots=True)
class _Person:
    document_number: str = field(repr=False)
    phone: str = field(repr=False)
    email: str = field(repr=False)


async def _account(db: Database, integrator_key: UUID, author: Author) -> UUID:
    data = AccountData(
        account_branch="0001",
        account_number=digits(8),
        account_digit=digits(1),
        owner_document_number="11222333000181",
        owner_name="Loja Exemplo Ltda",
    )
    account = await create_account(db, integrator_key=integrator_key, account_key=None, data=data, author=author)
    request = EntryRequest(account.key, uuid4(), "credit", BALANCE, "Saldo inicial")
    await post_entry(db, integrator_key=integrator_key, request=request, author=author)
    return account.key


async def _approver(
    db: Database, integrator_key: UUID, account_key: UUID, person: _Person, keyring: Keyring, author: Author
) -> None:
    approver = await create_approver(
        db,
        integrator_key=integrator_key,
        document_number=person.document_number,
        name="Ana Exemplo",
        active=True,
        keyring=keyring,
        author=author,
    )
    destinations: dict[ContactType, str] = {"sms": person.phone, "email": person.email}
    for contact_type, destination in destinations.items():
        await register_contact(
            db,
            integrator_key=integrator_key,
            approver_key=approver.key,
            contact_type=contact_type,
            destination=destination,
            keyring=keyring,
            author=author,
        )
    grant = Grant(approver.key, POWERS, None)
    await grant_powers(db, integrator_key=integrator_key, account_key=account_key, grant=grant, author=author)


async def _credential(
    db: Database, integrator_key: UUID, credential_type: str, public_key: str | None, keyring: Keyring, author: Author
) -> NewCredential:
    return await create_credential(
        db,
        integrator_key=integrator_key,
        credential_type=credential_type,
        scopes=SCOPES,
        public_key=public_key,
        keyring=keyring,
        author=author,
    )
