"""Bodies and heads of promises.md §4.2: what is no JSON, no object, or no such object."""

import gzip
import json
from typing import Any

DEEP = 21  # one more than is allowed


def not_json(good: dict[str, Any]) -> dict[str, bytes]:
    """Everything that has not exactly one reading as a JSON object, made from a body that has."""
    text = json.dumps(good)
    name, value = next(iter(good.items()))
    pair = f"{json.dumps(name)}:{json.dumps(value)}"
    return {
        "truncated": text[:-1].encode(),
        "half": text[: len(text) // 2].encode(),
        "trailing": text.encode() + b"x",
        "two values": text.encode() * 2,
        "byte order mark": b"\xef\xbb\xbf" + text.encode(),
        "utf-16": text.encode("utf-16"),
        "utf-16 without a mark": text.encode("utf-16-le"),
        "latin-1": b'{"n":"\xe9"}',
        "overlong": b'{"n":"\xc0\xaf"}',
        "surrogate bytes": b'{"n":"\xed\xa0\x80"}',
        "cut character": text.encode()[:-2] + b"\xe2\x82",
        "NaN": b'{"n":NaN}',
        "Infinity": b'{"n":Infinity}',
        "-Infinity": b'{"n":-Infinity}',
        "same key twice": f"{{{pair},{text[1:]}".encode(),
        "same key twice, escaped": f'{{"\\u{ord(name[0]):04x}{name[1:]}":{json.dumps(value)},{text[1:]}'.encode(),
        "same key twice, deep": f'{text[:-1]},"z":{{"a":1,"a":2}}}}'.encode(),
        "same key twice, in a list": f'{text[:-1]},"z":[{{"a":1,"a":1}}]}}'.encode(),
        "lone surrogate": f'{text[:-1]},"z":"\\ud800"}}'.encode(),
        "lone surrogate in a key": f'{text[:-1]},"\\udfff":1}}'.encode(),
        "swapped surrogates": f'{text[:-1]},"z":"\\udc00\\ud800"}}'.encode(),
        "too deep": f'{text[:-1]},"z":'.encode() + b"[" * DEEP + b"]" * DEEP + b"}",
        "too deep, objects": f'{text[:-1]},"z":'.encode() + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
        "very deep": b"[" * 100_000,
        "very deep in a string's company": b'{"a":"[[[[", "b":' + b"[" * 100_000,
        "list": f"[{text}]".encode(),
        "string": b'"{}"',
        "number": b"1",
        "null": b"null",
        "true": b"true",
        "empty list": b"[]",
        "blank": b"   ",
        "comment": b"{}// x",
        "single quotes": b"{'a':1}",
        "trailing comma": text[:-1].encode() + b",}",
        "bare key": b"{a:1}",
        "control character": b'{"n":"a\x01"}',
        "raw newline": b'{"n":"a\nb"}',
        "NUL": text.encode() + b"\x00",
        "form": b"token=123456",
        "gzip": gzip.compress(text.encode()),
    }


EXTRA_FIELDS: dict[str, Any] = {
    "status": "sent",
    "attempts": 0,
    "attempts_used": 0,
    "integrator_id": "7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264",
    "integrator_key": "7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264",
    "fee_amount": 0,
    "balance": 10,
    "generation": 9,
    "__proto__": {"admin": True},
    "constructor": {},
    "__class__": "x",
    "is_admin": True,
    "destination_override": "+5511987654321",
    "webhook_url": "https://x.example.com/",
    "Canary 4711": 1,
    "": 1,
    "\u0000": 1,
    "x" * 10_000: 1,
}

MEDIA_TYPES = [
    *("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml"),
    *("application/json; charset=latin1", "application/json; charset=utf-16", "application/jsonp", "text/json"),
    *("application/json, text/plain", "application/json; boundary=x", "application/vnd.api+json", "*/*", "json"),
    *("application/json\ttext", "APPLICATION", "application/json;charset=utf-8;charset=latin1"),
]
ENCODINGS = ["gzip", "deflate", "br", "identity, gzip", "x"]
BAD_CORRELATION_IDS = [
    "",
    "x" * 129,
    "x" * 10_000,
    "a b",
    "a\tb",
    "ação",
    "a/b",
    "<script>",
    "{}",
    "a;b",
    "a,b",
    "\x7f",
]
BAD_IDEMPOTENCY_KEYS = ["", "x" * 129, "a b", "ação", "a/b", "<x>", "a,b"]
BAD_QUERIES = [
    *(
        "x=1",
        "page=0",
        "page=-1",
        "page=1.5",
        "page=",
        "page=1e9",
        "page=٣",
        "page=99999999999999999999",
        "page=1&page=2",
    ),
    *(
        "page_size=0",
        "page_size=31",
        "page_size=x",
        "%zz",
        "page",
        "=1",
        "&",
        "page=%FF",
        "page=1;page_size=2",
        "page=%00",
    ),
]
