"""Identity documents as participants send them, and how far their onboarding is (redemptions.md §3.2, §3.3, §12)."""

from typing import Annotated, Any
from uuid import UUID

import msgspec

from aval.domain.document_view import document_view
from aval.domain.errors import schema_refusal
from aval.domain.identity_document import RULES, refuse_files, refuse_new
from aval.domain.keyring import Purpose
from aval.domain.onboarding import can_redeem, onboarding_of
from aval.domain.phone import phone_view
from aval.http.edge import ANY_SCOPE, Access, Answer, Call, Route, json_answer
from aval.http.fields import author_of
from aval.http.parts import Parts
from aval.http.redemptions.document_answers import (
    DocumentAnswer,
    DocumentListing,
    DocumentTypeName,
    OnboardingAnswer,
    Side,
)
from aval.http.redemptions.participants import NOT_FOUND, PARTICIPANT, campaign_of_call
from aval.http.redemptions.route import PAGE, Listing, page_of, participant_of, redemption_route, uuid_or
from aval.http.redemptions.uploads import UPLOAD_BYTES_MAX, Received, Reception
from aval.operations.fresh import fresh_key
from aval.operations.store_file import FileKeeper, busy
from aval.operations.submit_document import delete_draft, submit_document
from aval.operations.upload_document import Upload, add_document_file, create_document, own_document, refuse_side
from aval.storage.identity_documents import list_documents, read_documents
from aval.storage.onboarding import read_onboarding
from aval.storage.phones import ShownPhone, list_shown_phones

DOCUMENTS = PARTICIPANT + "/documents"
DOCUMENT = DOCUMENTS + "/{document_id}"
UNKNOWN = "rdm.resource_not_found"
PHONES_MAX = 20

_OWN = Access(impersonator="onboarding.write", participant="onboarding.write")
_READ = Access(ANY_SCOPE, impersonator="participants.read", participant="participants.read")
_FILE_REFUSALS = ("rdm.file_type", "rdm.file_unreadable", "rdm.wrong_status", NOT_FOUND)
_FIRST = frozenset({"type", "side"})

Binary = Annotated[str, msgspec.Meta(extra_json_schema={"format": "binary", "description": "JPEG, PNG or PDF."})]


class FileForm(msgspec.Struct):
    """One side of a document; name and type of the part are not looked at."""

    file: Binary


class DocumentForm(FileForm):
    """A new document with its first side."""

    type: DocumentTypeName
    side: Side


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    documents = Documents(app)
    return [*_upload_routes(documents), *_other_routes(documents)]


def _upload_routes(documents: "Documents") -> list[Route]:
    told: dict[str, Any] = {
        "response": DocumentAnswer,
        "media": "multipart",
        "is_streamed": True,
        "body_limit": UPLOAD_BYTES_MAX,
    }
    return [
        redemption_route(
            "POST",
            DOCUMENTS,
            documents.create,
            _OWN,
            201,
            "Send the first side of a new document",
            request=DocumentForm,
            refusals=_FILE_REFUSALS,
            **told,
        ),
        redemption_route(
            "PUT",
            DOCUMENT + "/files/{side}",
            documents.put_file,
            _OWN,
            200,
            "Add a side of a document, or replace it: the former file is destroyed",
            request=FileForm,
            refusals=(*_FILE_REFUSALS, UNKNOWN),
            **told,
        ),
    ]


def _other_routes(documents: "Documents") -> list[Route]:
    return [
        redemption_route(
            "GET",
            DOCUMENTS,
            documents.list_of_participant,
            _READ,
            200,
            "List the documents of a participant, oldest first",
            response=DocumentListing,
            query=PAGE,
            refusals=(NOT_FOUND,),
        ),
        redemption_route(
            "POST",
            DOCUMENT + "/submit",
            documents.submit,
            _OWN,
            200,
            "Hand a document to the reviewers",
            response=DocumentAnswer,
            empty_body=True,
            refusals=(NOT_FOUND, UNKNOWN, "rdm.wrong_status", "rdm.document_incomplete"),
        ),
        redemption_route(
            "DELETE",
            DOCUMENT,
            documents.delete,
            _OWN,
            204,
            "Erase a draft",
            refusals=(NOT_FOUND, UNKNOWN, "rdm.wrong_status"),
        ),
        redemption_route(
            "GET",
            PARTICIPANT + "/onboarding",
            documents.read_onboarding,
            _READ,
            200,
            "Read how far a participant is, and what is missing",
            response=OnboardingAnswer,
            refusals=(NOT_FOUND,),
        ),
    ]


class Documents:
    """Handlers of a participant's documents."""

    def __init__(self, app: Parts) -> None:
        self._app = app
        self._reception = Reception(None if app.files is None else app.files.spool)

    async def create(self, call: Call) -> Answer:
        """POST /participants/{p}/documents."""
        call.release()  # a body may be long in coming; uploads have a limit of their own
        tenant_key, participant_key = await participant_of(self._app.db, call)
        async with self._reception.received(call, _FIRST) as received:
            document_type, side = received.fields["type"], received.fields["side"]
            if document_type not in RULES:
                raise schema_refusal(("type", "invalid_value"))
            if side not in RULES[document_type].sides:
                raise schema_refusal(("side", "invalid_value"))
            async with self._app.db.reading() as connection:  # judged again under the guard, but now it costs nothing
                refuse_new(await read_documents(connection, tenant_key, participant_key), document_type)
            upload = await self._stored(call, (tenant_key, participant_key), fresh_key(), side, document_type, received)
        document = await create_document(self._app.db, upload=upload, document_type=document_type)
        return json_answer(201, document_view(document))

    async def put_file(self, call: Call) -> Answer:
        """PUT /participants/{p}/documents/{doc}/files/{side}."""
        call.release()
        owner = await participant_of(self._app.db, call)
        document_key, side = uuid_or(call, "document_id", UNKNOWN), call.params["side"]
        async with self._app.db.reading() as connection:
            document = await own_document(connection, *owner, document_key)
        refuse_side(document, side)
        refuse_files(document)
        async with self._reception.received(call, frozenset()) as received:
            upload = await self._stored(call, owner, document_key, side, document.type, received)
        document = await add_document_file(self._app.db, upload=upload)
        return json_answer(200, document_view(document))

    async def _stored(
        self,
        call: Call,
        owner: tuple[UUID, UUID],
        document_key: UUID,
        side: str,
        document_type: str,
        received: Received,
    ) -> Upload:
        tenant_key, participant_key = owner
        file = received.file_for(RULES[document_type].formats)
        if not self._app.keyring.current().all_of(Purpose.DOCUMENT):  # a keys file from before there was this key
            raise busy()
        stored = await self._files.keep(tenant_key, document_key, side, file)
        return Upload(
            tenant_key=tenant_key,
            participant_key=participant_key,
            document_key=document_key,
            side=side,
            file=stored,
            author=author_of(call),
            keyring=self._app.keyring.current(),
        )

    @property
    def _files(self) -> FileKeeper:
        assert self._app.files is not None
        return self._app.files

    async def list_of_participant(self, call: Call) -> Answer:
        """GET /participants/{p}/documents."""
        tenant_key, participant_key = await participant_of(self._app.db, call)
        page = page_of(call)
        async with self._app.db.reading() as connection:
            found, total = await list_documents(
                connection, tenant_key, participant_key, offset=page.offset, limit=page.limit
            )
        told = [document_view(each, is_back_office=is_back_office(call)) for each in found]
        return json_answer(200, Listing(told, page.offset, page.limit, total))

    async def submit(self, call: Call) -> Answer:
        """POST /participants/{p}/documents/{doc}/submit."""
        tenant_key, participant_key = await participant_of(self._app.db, call)
        document = await submit_document(
            self._app.db,
            tenant_key=tenant_key,
            participant_key=participant_key,
            document_key=uuid_or(call, "document_id", UNKNOWN),
            author=author_of(call),
        )
        return json_answer(200, document_view(document))

    async def delete(self, call: Call) -> Answer:
        """DELETE /participants/{p}/documents/{doc}."""
        tenant_key, participant_key = await participant_of(self._app.db, call)
        await delete_draft(
            self._app.db,
            tenant_key=tenant_key,
            participant_key=participant_key,
            document_key=uuid_or(call, "document_id", UNKNOWN),
            author=author_of(call),
        )
        return Answer(204)

    async def read_onboarding(self, call: Call) -> Answer:
        """GET /participants/{p}/onboarding."""
        owner = await participant_of(self._app.db, call)
        campaign = await campaign_of_call(self._app, call, owner[0])
        async with self._app.db.reading() as connection:
            facts = (await read_onboarding(connection, [owner]))[owner]
            phones, _ = await list_shown_phones(connection, *owner, offset=0, limit=PHONES_MAX)
            documents = await read_documents(connection, *owner)
        found = onboarding_of(campaign.policy, facts)
        told: dict[str, Any] = {"status": found.status.value, "missing": found.missing}
        phone = _present(phones)
        if phone is not None:
            told["device"] = phone_view(phone.device, phone.challenge, now=phone.now, delivery=phone.delivery)
        told["documents"] = [document_view(each, is_back_office=is_back_office(call)) for each in documents]
        return json_answer(200, told | {"can_redeem": can_redeem(campaign.policy, found)})


def is_back_office(call: Call) -> bool:
    """Whether notes and names of reviewers may be told to this caller."""
    return call.redeemer.campaign is None


def _present(phones: list[ShownPhone]) -> ShownPhone | None:
    """The device in use, else the one in registration; `phones` are the newest first."""
    in_use = [phone for phone in phones if phone.device.is_in_use]
    in_registration = [phone for phone in phones if phone.device.is_in_registration]
    return next(iter([*in_use, *in_registration]), None)
