"""The files of the approver's page and the policies they come under."""

import re
from collections.abc import Mapping

import pytest

from aval.bootstrap import page_routes
from aval.console.approvals import approval_pages
from aval.http.app import build_app
from aval.storage.database import Database
from tests.factories import Client, make_parts

PAGES = {page.path.rpartition("/")[2]: page for page in approval_pages()}
SCRIPTS = {name: page.body.decode() for name, page in PAGES.items() if name.endswith(".js")}
DOCUMENT = PAGES["{link}"].body.decode()


@pytest.fixture
def call(db: Database) -> Client:
    return Client(build_app(make_parts(db), [], page_routes()))


async def test_every_link_gets_the_page_under_a_strict_policy(call: Client) -> None:
    session = "1b7d42f6-c093-4e58-a6d1-8f20e9c5b374"
    for link in (session, "x", "%00", f"{session}?fbclid=a&fbclid=%00&=<b>"):  # chats add to the links they show
        reply = await call("GET", f"/approve/{link}")
        assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert reply.body.decode() == DOCUMENT
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["cross-origin-opener-policy"] == "same-origin"
        assert reply.headers["referrer-policy"] == "no-referrer"
        policy = policy_of(reply.headers)
        assert policy.pop("require-trusted-types-for") == "'script'"
        assert policy.pop("trusted-types") == "'none'"
        own = {name for name, sources in policy.items() if sources == "'self'"}
        assert own == {"script-src", "style-src", "img-src", "connect-src"}
        assert {sources for name, sources in policy.items() if name not in own} == {"'none'"}
        assert {"default-src", "base-uri", "form-action", "frame-ancestors"} == policy.keys() - own


def policy_of(headers: Mapping[str, str]) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in headers["content-security-policy"].split(";"))
    return {name: sources for name, _, sources in parts}


async def test_the_files_of_the_page_are_there_and_may_be_kept(call: Client) -> None:
    wanted = re.findall(r'(?:src|href)="([^"]+)"', DOCUMENT)
    base = wanted[0].rpartition("/")[0]
    assert re.fullmatch(r"/approve/files/[0-9a-f]{16}", base)
    imported = {name for text in SCRIPTS.values() for name in re.findall(r'from "\./([a-z]+\.js)"', text)}
    for path in {*wanted, *(f"{base}/{name}" for name in imported)}:
        reply = await call("GET", path)
        assert reply.status == 200, path
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert reply.headers["x-content-type-options"] == "nosniff"
    loaded = {path.rpartition("/")[2] for path in wanted} | imported
    assert loaded == PAGES.keys() - {"{link}"}  # and none is left over
    assert (await call("GET", f"{base}/gone.js")).status == 404


def test_the_page_names_no_other_host_and_writes_no_html() -> None:
    for name, text in {**SCRIPTS, "approve.html": DOCUMENT, "approve.css": PAGES["approve.css"].body.decode()}.items():
        assert re.findall(r"https?://(?!www\.w3\.org/)", text) == [], name
        forbidden = (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "localStorage",
            "cookie",
        )
        assert [each for each in forbidden if each in text] == [], name
    assert "style=" not in DOCUMENT
    assert not re.search(r"<script(?![^>]*src=)", DOCUMENT)
