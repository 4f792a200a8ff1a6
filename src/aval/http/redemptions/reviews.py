"""What reviewers do: find documents, look at them, decide (redemptions.md §3.2, §12)."""

import msgspec

from aval.domain.calendar import parse_date
from aval.domain.document_view import document_view
from aval.domain.errors import Refusal, schema_refusal
from aval.domain.identity_document import Decision, DocumentStatus, Verdict, no_document
from aval.http.edge import ANY_SCOPE, Access, Answer, Call, QueryParameter, Route, json_answer
from aval.http.fields import author_of, text_of
from aval.http.parts import Parts
from aval.http.redemptions.document_answers import DecisionName, DocumentAnswer, DocumentListing
from aval.http.redemptions.documents import UNKNOWN
from aval.http.redemptions.route import PAGE, Listing, page_of, redemption_route, uuid_or
from aval.http.strict_json import decode
from aval.operations.decide_document import decide_document
from aval.operations.read_document_file import read_document_file
from aval.storage.campaigns import find_campaign
from aval.storage.identity_documents import find_document, list_queue

DOCUMENTS = "/documents"
DOCUMENT = DOCUMENTS + "/{document_id}"
REVIEW, REOPEN = "documents.review", "documents.reopen"
MESSAGE_CHARACTERS_MAX, NOTE_CHARACTERS_MAX = 500, 2_000
ENDINGS = {"image/jpeg": "jpg", "image/png": "png", "application/pdf": "pdf"}
SANDBOXED = "default-src 'none'; frame-ancestors 'none'; sandbox"

_STATUSES = tuple(status.value for status in DocumentStatus)


class DecisionBody(msgspec.Struct, forbid_unknown_fields=True):
    """A decision; which reasons go with it is told in redemptions.md §3.2."""

    decision: DecisionName
    reason_code: str | None = None
    public_message: str | None = None
    internal_note: str | None = None
    expires_on: str | None = None


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    reviews = Reviews(app)
    return [
        redemption_route(
            "GET",
            DOCUMENTS,
            reviews.list_queue,
            Access(REVIEW),
            200,
            "List documents in one state, the longest waiting first; without a state those that wait for a review",
            response=DocumentListing,
            query=(
                *(QueryParameter("status", "choice", _STATUSES), QueryParameter("campaign_id")),
                *PAGE,
            ),
        ),
        redemption_route(
            "GET",
            DOCUMENT,
            reviews.read,
            Access(REVIEW),
            200,
            "Read a document",
            response=DocumentAnswer,
            refusals=(UNKNOWN,),
        ),
        redemption_route(
            "GET",
            DOCUMENT + "/files/{side}",
            reviews.view,
            Access(REVIEW),
            200,
            "View a side of a document, which is audited",
            files=tuple(ENDINGS),
            refusals=(UNKNOWN,),
        ),
        redemption_route(
            "POST",
            DOCUMENT + "/decision",
            reviews.decide,
            Access(ANY_SCOPE),
            200,
            "Decide on a document; `reopen` needs `documents.reopen`, all else `documents.review`",
            request=DecisionBody,
            response=DocumentAnswer,
            refusals=(UNKNOWN, "rdm.wrong_status", "rdm.participant_not_found"),
        ),
    ]


class Reviews:
    """Handlers of the review."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def list_queue(self, call: Call) -> Answer:
        """GET /documents?status=&campaign_id=."""
        page, status = page_of(call), DocumentStatus(call.query.get("status", DocumentStatus.PENDING.value))
        async with self._app.db.reading() as connection:
            tenant_key = None
            if "campaign_id" in call.query:
                campaign = await find_campaign(connection, call.query["campaign_id"])
                if campaign is None:  # filters with foreign ids find nothing (promises.md §4.10)
                    return json_answer(200, Listing([], page.offset, page.limit, 0))
                tenant_key = campaign.campaign.key
            found, total = await list_queue(connection, status, tenant_key, offset=page.offset, limit=page.limit)
        told = [document_view(each, is_back_office=True) for each in found]
        return json_answer(200, Listing(told, page.offset, page.limit, total))

    async def read(self, call: Call) -> Answer:
        """GET /documents/{id}."""
        async with self._app.db.reading() as connection:
            document = await find_document(connection, uuid_or(call, "document_id", UNKNOWN), tenant_key=None)
        if document is None:
            raise no_document()
        return json_answer(200, document_view(document, is_back_office=True))

    async def view(self, call: Call) -> Answer:
        """GET /documents/{id}/files/{side}."""
        assert self._app.files is not None
        opened = await read_document_file(
            self._app.db,
            self._app.files.store,
            document_key=uuid_or(call, "document_id", UNKNOWN),
            side=call.params["side"],
            keyring=self._app.keyring.current(),
            author=author_of(call),
        )
        headers = {
            "content-type": opened.media_type,
            "content-disposition": f'attachment; filename="document.{ENDINGS[opened.media_type]}"',
            "content-security-policy": SANDBOXED,
        }
        return Answer(200, opened.content, headers)

    async def decide(self, call: Call) -> Answer:
        """POST /documents/{id}/decision."""
        document_key = uuid_or(call, "document_id", UNKNOWN)
        verdict = verdict_of(decode(call.body, DecisionBody))
        needed = REOPEN if verdict.decision is Decision.REOPEN else REVIEW
        if not call.redeemer.may(needed):
            raise Refusal("rdm.insufficient_scope", extra_fields={"scope": needed})
        document = await decide_document(
            self._app.db, document_key=document_key, verdict=verdict, author=author_of(call)
        )
        return json_answer(200, document_view(document, is_back_office=True))


def verdict_of(body: DecisionBody) -> Verdict:
    """Read a decision; raises the refusal of members that do not fit it."""
    expires_on = None if body.expires_on is None else parse_date(body.expires_on)
    if body.expires_on is not None and expires_on is None:
        raise schema_refusal(("expires_on", "invalid_value"))
    verdict = Verdict(
        decision=Decision(body.decision),
        reason_code=body.reason_code,
        public_message=_line(body.public_message, "public_message", MESSAGE_CHARACTERS_MAX),
        internal_note=_line(body.internal_note, "internal_note", NOTE_CHARACTERS_MAX),
        expires_on=expires_on,
    )
    faults = verdict.faults()
    if faults:
        raise schema_refusal(*faults)
    return verdict


def _line(text: str | None, name: str, characters_max: int) -> str | None:
    return None if text is None else text_of(text, name, characters_max=characters_max)
