"""The way of a document from the first side to its end (redemptions.md §3.2)."""

import json
from io import BytesIO
from uuid import UUID, uuid4

import pytest
from PIL import Image

from tests.document_actors import Sender
from tests.hostile_files import CANARY, exif, picture
from tests.redemption_stage import RedemptionStage, reason_of


async def test_a_document_goes_from_its_first_side_to_approval(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    made = await sender.post("rg", "front")
    assert made.status == 201, made.body
    document = made.json
    assert (document["status"], document["attempt"], document["decision"]) == ("draft", 1, None)
    early = await sender.submit(document["id"])
    assert (early.status, early.code, early.json["extra_fields"]["missing_sides"]) == (422, "RDM000926", ["back"])
    assert (await sender.put(document["id"], "back")).status == 200
    pending = (await sender.submit(document["id"])).json
    assert (pending["status"], [file["side"] for file in pending["files"]]) == ("pending", ["front", "back"])
    assert "internal_note" not in pending
    approved = await sender.decided(document["id"], "approve", internal_note="ok", expires_on="2031-01-31")
    assert (approved["status"], approved["expires_on"], approved["internal_note"]) == ("approved", "2031-01-31", "ok")
    assert approved["decided_by"].startswith("operator ")
    assert await sender.events(document["id"]) == ["document.submitted", "document.approved"]
    acts = ["document.created", "document.file_stored", "document.submitted", "document.approved"]
    assert await sender.acts(document["id"]) == acts


async def test_the_participant_sees_reason_and_message_but_no_note(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    document = await sender.submitted("rg", "front", "back")
    said = {"public_message": "A foto do verso está sem foco.", "internal_note": "parece foto de tela"}
    await sender.decided(document, "request_resubmission", "blurry", **said)
    listed = await redemptions.call("GET", "/participants/me/documents", headers=sender.headers)
    (shown,) = listed.json["items"]
    assert (shown["reason_code"], shown["public_message"]) == ("blurry", said["public_message"])
    assert "internal_note" not in shown
    assert "decided_by" not in shown
    (body,) = await redemptions.fetch(
        "select body from events where operation_id = $1 and event_type = 'document.resubmission_requested'",
        UUID(document),
    )
    told = json.loads(body[0])["data"]
    assert told == {
        "id": document,
        "type": "rg",
        "status": "resubmission_requested",
        "attempt": 1,
        "reason_code": "blurry",
        "public_message": said["public_message"],
    }


async def test_a_request_is_answered_with_a_new_file_and_counts(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions, max_resubmissions=1)
    document = await sender.submitted("rg", "front", "back")
    await sender.decided(document, "request_resubmission", "blurry")
    nothing_new = await sender.submit(document)
    assert (nothing_new.code, nothing_new.json["extra_fields"]["missing_sides"]) == ("RDM000926", [])
    await sender.put(document, "back")
    assert (await sender.submit(document)).json["attempt"] == 2
    used_up = await sender.decided(document, "request_resubmission", "other", public_message="De novo, por favor.")
    assert (used_up["status"], used_up["reason_code"]) == ("rejected", "resubmission_limit")


async def test_a_rejected_document_is_in_the_way_of_its_kind_until_it_is_reopened(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    document = await sender.submitted()
    await sender.decided(document, "reject", "altered")
    refused = await sender.post("cnh", "front")
    assert (refused.status, refused.code, refused.json["extra_fields"]["status"]) == (409, "RDM000912", "rejected")
    assert (await sender.post("selfie")).status == 201
    reopened = await sender.decided(document, "reopen", "reconsidered")
    assert reopened["status"] == "resubmission_requested"
    await sender.put(document, "single")
    assert (await sender.submit(document)).json["attempt"] == 1


async def test_one_document_of_a_type_is_on_its_way(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    assert (await sender.post("rg", "front")).status == 201
    second = await sender.post("rg", "front")
    assert (second.status, reason_of(second)) == (409, "wrong_status")
    assert (await sender.post("cnh", "front")).status == 201


@pytest.mark.parametrize("status", ["pending", "approved", "rejected"])
async def test_only_a_document_that_waits_for_files_takes_them(redemptions: RedemptionStage, status: str):
    sender = await Sender.make(redemptions)
    document = await sender.submitted()
    if status != "pending":
        decision = ("approve", None) if status == "approved" else ("reject", "altered")
        await sender.decided(document, *decision)
    for told in (
        await sender.put(document, "single"),
        await sender.submit(document),
        await redemptions.call("DELETE", f"/participants/me/documents/{document}", headers=sender.headers),
    ):
        assert (told.status, told.code, told.json["extra_fields"]["status"]) == (409, "RDM000912", status)


async def test_what_is_not_there_can_be_neither_decided_nor_looked_at(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    unknown = str(uuid4())
    for told in (await sender.decide(unknown, "approve"), await sender.view(unknown)):
        assert (told.status, told.code) == (404, "RDM000910")
    document = await sender.submitted()
    assert (await sender.view(document, "back")).code == "RDM000910"


async def test_a_side_that_its_type_lacks_is_refused(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    document = (await sender.post("rg", "front")).json["id"]
    assert (await sender.put(document, "single")).code == "QIT000001"
    assert (await sender.put(document, "back")).status == 200


async def test_a_draft_is_erased_with_its_file(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    document = (await sender.post()).json["id"]
    path = f"/participants/me/documents/{document}"
    assert (await redemptions.call("DELETE", path, headers=sender.headers)).status == 204
    again = await redemptions.call("DELETE", path, headers=sender.headers)
    assert (again.status, again.json["extra_fields"]) == (404, {"reason": "resource_not_found", "resource": "document"})
    assert await redemptions.fetch("select 1 from document_files where document_id = $1", UUID(document)) == []
    assert await sender.acts(document) == ["document.created", "document.deleted"]


@pytest.mark.parametrize(
    "body",
    [
        {"decision": "approve", "reason_code": "blurry"},
        {"decision": "reject"},
        {"decision": "reject", "reason_code": "blurry"},
        {"decision": "request_resubmission", "reason_code": "altered"},
        {"decision": "request_resubmission", "reason_code": "other"},
        {"decision": "reject", "reason_code": "altered", "expires_on": "2031-01-01"},
        {"decision": "approve", "expires_on": "2031-02-30"},
        {"decision": "approve", "public_message": ""},
        {"decision": "approve", "status": "approved"},
        {"decision": "maybe"},
        {},
    ],
)
async def test_a_decision_that_does_not_fit_is_refused(redemptions: RedemptionStage, body: dict[str, str]):
    sender = await Sender.make(redemptions)
    document = await sender.submitted()
    told = await redemptions.call("POST", f"/documents/{document}/decision", body, headers=sender.reviewer)
    assert (told.status, told.code) == (400, "QIT000001")
    assert await sender.status(document) == ("pending", 1)


async def test_only_reviewers_decide_and_only_operators_reopen(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    document = await sender.submitted()
    path, reject = f"/documents/{document}/decision", {"decision": "reject", "reason_code": "altered"}
    points = await redemptions.operator("points.write")
    refused = await redemptions.call("POST", path, reject, headers=points)
    assert (refused.status, refused.json["extra_fields"]["scope"]) == (403, "documents.review")
    assert (await redemptions.call("POST", path, reject, headers=sender.headers)).code == "RDM000918"
    reviewer = await redemptions.operator("documents.review")
    assert (await redemptions.call("POST", path, reject, headers=reviewer)).status == 200
    reopen = {"decision": "reopen", "reason_code": "reconsidered"}
    assert (await redemptions.call("POST", path, reopen, headers=reviewer)).code == "RDM000918"
    assert (await redemptions.call("GET", f"/documents/{document}/files/single", headers=points)).code == "RDM000918"
    assert (await redemptions.call("GET", f"/documents/{document}", headers=sender.headers)).status == 403


async def test_a_viewed_file_shows_the_picture_and_is_audited(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    made = (await sender.post(content=picture(exif=exif(), comment=CANARY))).json
    seen = await sender.view(made["id"])
    assert seen.status == 200
    assert Image.open(BytesIO(seen.body)).size == (320, 240)
    assert CANARY.encode() not in seen.body
    assert seen.headers["content-disposition"] == 'attachment; filename="document.jpg"'
    assert seen.headers["x-content-type-options"] == "nosniff"
    assert seen.headers["cache-control"] == "no-store"
    assert "sandbox" in seen.headers["content-security-policy"]
    assert "x-correlation-id" in seen.headers
    assert await sender.acts(made["id"]) == ["document.created", "document.viewed"]
    assert (await sender.view(made["id"], "front")).code == "RDM000910"


async def test_the_queue_shows_the_longest_waiting_first(own_redemptions: RedemptionStage):
    sender = await Sender.make(own_redemptions)
    other = await Sender.make(own_redemptions)
    first, second = await sender.submitted(), await other.submitted("selfie")
    await sender.post("selfie")

    async def queue(query: str = "") -> list[str]:
        told = await own_redemptions.call("GET", f"/documents{query}", headers=sender.reviewer)
        assert told.status == 200, told.body
        assert told.json["total"] == len(told.json["items"])
        return [each["id"] for each in told.json["items"]]

    assert await queue() == [first, second]
    assert await queue(f"?status=pending&campaign_id={other.campaign.campaign_id}") == [second]
    assert await queue("?campaign_id=unknown") == []
    await sender.decided(first, "approve")
    assert await queue("?status=approved") == [first]
    assert len(await queue("?status=draft")) == 1


async def test_ids_of_others_are_unknown_ids(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    neighbour = await Sender.make(redemptions, sender.campaign)
    stranger = await Sender.make(redemptions)
    document = (await sender.post()).json["id"]

    async def answers(who: Sender, key: str) -> list[tuple[int, str]]:
        base = f"/participants/me/documents/{key}"
        replies = [
            await who.put(key, "single"),
            await who.submit(key),
            await redemptions.call("DELETE", base, headers=who.headers),
        ]
        return [(reply.status, json.dumps(reply.json)) for reply in replies]

    unknown = await answers(sender, str(uuid4()))
    assert {status for status, _ in unknown} == {404}
    assert await answers(neighbour, document) == unknown
    assert await answers(stranger, document) == unknown
    assert await answers(sender, "not-an-id") == unknown
    foreign = f"/participants/{sender.person.key}/documents"
    assert (await redemptions.call("GET", foreign, headers=neighbour.headers)).code == "113"


async def test_an_impersonator_sends_documents_only_with_its_own_scope(redemptions: RedemptionStage):
    sender = await Sender.make(redemptions)
    scopes = ["impersonate", "participants.read", "participants.write"]
    plain = await redemptions.application(sender.campaign, scopes=scopes)
    sender.headers = redemptions.as_impersonator(plain, sender.campaign, sender.person)
    assert (await sender.post()).code == "RDM000917"
    trusted = await redemptions.application(sender.campaign, scopes=[*scopes, "onboarding.write"])
    sender.headers = redemptions.as_impersonator(trusted, sender.campaign, sender.person)
    assert (await sender.post()).status == 201
