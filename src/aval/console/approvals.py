"""The approver's page: one document for every link, and the files it loads (docs/adr/0030).

The page itself asks for what it shows, so that nothing here knows an operation.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files

PAGE = "approve.html"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# promises.md §5, loosened by what the page loads from its own origin; its scripts never write HTML.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
PERMISSIONS_POLICY = "publickey-credentials-get=(self), publickey-credentials-create=(self)"
ONE_YEAR = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Page:
    """A document or file: its path (with parameters in braces), body and headers."""

    path: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str]


def approval_pages() -> list[Page]:
    """Read the page and its files; their addresses hold a digest of all of them, so browsers may keep them."""
    contents = dict(sorted(_contents()))
    digest = hashlib.sha256(b"".join(name.encode() + b"\0" + body for name, body in contents.items())).hexdigest()[:16]
    base = f"/approve/files/{digest}"
    document = contents.pop(PAGE).replace(b"{base}", base.encode())
    policies = {"content-security-policy": CONTENT_SECURITY_POLICY, "permissions-policy": PERMISSIONS_POLICY}
    page = Page("/approve/{link}", document, {"content-type": _media_type(PAGE), **policies})
    return [page] + [
        Page(f"{base}/{name}", body, {"content-type": _media_type(name), "cache-control": ONE_YEAR})
        for name, body in contents.items()
    ]


def _contents() -> Iterator[tuple[str, bytes]]:
    for item in files("aval.console").joinpath("static").iterdir():
        if _media_type(item.name):
            yield item.name, item.read_bytes()


def _media_type(name: str) -> str:
    return _MEDIA_TYPES.get(name[name.rfind(".") :], "")
