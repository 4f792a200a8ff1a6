"""The store of files: one contract, on a directory and on a server that speaks S3."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import pytest
from aiohttp import web

from aval.storage.document_store import DocumentStore, DocumentStoreUnavailable, StoreAddress


class Bucket:
    """A store in memory that takes signed requests as S3 does: put, get, delete, and puts in parts."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._parts: dict[str, bytes] = {}

    async def answer(self, request: web.Request) -> web.Response:
        if not request.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 Credential=the-key/"):
            return web.Response(status=403)
        if "delete" in request.query:
            return await self._deleted(request)
        if request.query:
            return await self._in_parts(request)
        if request.method == "PUT":
            self.objects[request.path] = await request.read()
        elif request.path not in self.objects:
            return web.Response(status=404)
        headers = {"etag": '"e"', "last-modified": "Wed, 04 Mar 2026 12:00:00 GMT"}
        return web.Response(body=self.objects[request.path] if request.method == "GET" else b"", headers=headers)

    async def _deleted(self, request: web.Request) -> web.Response:
        keys = re.findall("<Key>(.*?)</Key>", await request.text())
        for key in keys:
            self.objects.pop(f"{request.path}/{key}", None)
        return xml("".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys), "DeleteResult")

    async def _in_parts(self, request: web.Request) -> web.Response:
        if "uploads" in request.query:
            told = f"<Bucket>b</Bucket><Key>k</Key><UploadId>{request.path}</UploadId>"
            return xml(told, "InitiateMultipartUploadResult")
        if "partNumber" in request.query:
            self._parts[request.path] = self._parts.get(request.path, b"") + await request.read()
            return web.Response(headers={"etag": '"e"'})
        self.objects[request.path] = self._parts.pop(request.path)
        return xml("<ETag>e</ETag>", "CompleteMultipartUploadResult")


@asynccontextmanager
async def s3_server() -> AsyncIterator[tuple[str, dict[str, bytes]]]:
    """It, on a port of this machine."""
    bucket = Bucket()
    application = web.Application(client_max_size=32 * 1024 * 1024)
    application.router.add_route("*", "/{path:.*}", bucket.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", bucket.objects
    finally:
        await runner.cleanup()


def xml(content: str, name: str) -> web.Response:
    text = f'<?xml version="1.0"?><{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{content}</{name}>'
    return web.Response(text=text, content_type="application/xml")


@pytest.fixture(params=["directory", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DocumentStore]:
    if request.param == "directory":
        yield DocumentStore(StoreAddress((tmp_path / "a b" / "documents").as_uri()))
        return
    async with s3_server() as (endpoint, _):
        yield DocumentStore(StoreAddress("s3://bucket/prefix", endpoint, "us-east-1", "the-key", "the-secret"))


@pytest.mark.parametrize("size", [1, 70_000, 6_000_000])
async def test_what_was_put_is_read_until_it_is_deleted(store: DocumentStore, size: int):
    tenant, key, content = uuid4(), uuid4(), bytes(range(256)) * (size // 256 + 1)
    await store.put(tenant, key, BytesIO(content))
    assert await store.read(tenant, key) == content
    assert await store.read(uuid4(), key) is None
    await store.delete([(tenant, key), (tenant, uuid4())])
    assert await store.read(tenant, key) is None
    await store.delete([(tenant, key)])
    await store.delete([])


async def test_names_are_below_the_bucket_s_prefix_and_say_nothing():
    async with s3_server() as (endpoint, objects):
        store = DocumentStore(StoreAddress("s3://bucket/prefix", endpoint, "us-east-1", "the-key", "the-secret"))
        tenant, key = uuid4(), uuid4()
        await store.put(tenant, key, BytesIO(b"x"))
        assert list(objects) == [f"/bucket/prefix/{tenant.hex}/{key.hex[-2:]}/{key.hex}"]


async def test_a_directory_is_the_account_s_alone(tmp_path: Path):
    store = DocumentStore(StoreAddress((tmp_path / "documents").as_uri()))
    await store.put(uuid4(), uuid4(), BytesIO(b"x"))
    assert (tmp_path / "documents").stat().st_mode & 0o066 == 0


async def test_a_store_that_is_away_is_told_as_such(tmp_path: Path):
    (tmp_path / "file").write_text("no directory")
    for address in (
        StoreAddress((tmp_path / "file" / "documents").as_uri()),
        StoreAddress("s3://bucket", "https://127.0.0.1:9", "us-east-1", "the-key", "the-secret"),
    ):
        store = DocumentStore(address, retries=0)
        with pytest.raises(DocumentStoreUnavailable):
            await store.put(uuid4(), uuid4(), BytesIO(b"x"))
        with pytest.raises(DocumentStoreUnavailable):
            await store.read(uuid4(), uuid4())
        with pytest.raises(DocumentStoreUnavailable):
            await store.delete([(uuid4(), uuid4())])
