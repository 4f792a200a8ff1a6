"""Heads and framings of promises.md §4.2 that only a socket can carry."""

from tests.factories import Reply

LIMIT = 256 * 1024


def head(*lines: str, method: str = "PUT", target: str = "/", version: str = "HTTP/1.1", end: str = "\r\n") -> bytes:
    return end.join([f"{method} {target} {version}", "Host: aval", *lines, "", ""]).encode("latin-1")


def requests(target: str, key: str) -> dict[str, tuple[list[bytes], int, str]]:
    """Note → the pieces to send, the status, the code; an empty code is a bare answer. All end the connection."""
    auth, json_type = f"Authorization: Bearer {key}", "Content-Type: application/json"
    body = b'{"token":"7K3M9Q"}'
    sized = f"Content-Length: {len(body)}"

    def one(*lines: str, **more: str) -> list[bytes]:
        return [head(auth, json_type, *lines, **{"target": target, **more})]

    def bare(pieces: list[bytes]) -> tuple[list[bytes], int, str]:
        return pieces, 400, ""

    chunk = b"%x\r\n%b\r\n" % (65_536, b"x" * 65_536)
    return {
        "declared too large": (one(f"Content-Length: {LIMIT + 1}"), 413, "QIT000941"),
        "declared absurdly large": (one("Content-Length: " + "9" * 18), 413, "QIT000941"),
        "chunked too large": ([*one("Transfer-Encoding: chunked"), *[chunk] * 5], 413, "QIT000941"),
        "headers too large": (one("X-Pad: " + "x" * 17_000), 400, "QIT000400"),
        "too many headers": (one(*(f"X-{number}: 1" for number in range(120)), "Connection: close"), 400, "QIT000400"),
        "address too long": (one(target=f"{target}?page={'1' * 2_100}"), 400, "QIT000400"),
        "unknown verb": bare(one(method="FROB")),
        "lower-case verb": bare(one(method="put")),
        "length and chunks": bare([*one(sized, "Transfer-Encoding: chunked"), b"0\r\n\r\n"]),
        "chunks and length": bare([*one("Transfer-Encoding: chunked", sized), b"0\r\n\r\n"]),
        "two lengths": bare([*one(sized, "Content-Length: 5"), body]),
        "two equal lengths": bare([*one(sized, sized), body]),
        "length list": bare([*one(f"Content-Length: {len(body)}, {len(body)}"), body]),
        "signed length": bare([*one(f"Content-Length: +{len(body)}"), body]),
        "negative length": bare([*one("Content-Length: -1"), body]),
        "hexadecimal length": bare([*one("Content-Length: 0x12"), body]),
        "unknown coding": bare([*one("Transfer-Encoding: xchunked", sized), body]),
        "folded header": bare([*one("X-Own: a\r\n b", sized), body]),
        "space before the colon": bare([*one("Content-Length : 18"), body]),
        "bare line feeds": bare([head(auth, json_type, sized, target=target, end="\n") + body]),
        "carriage return in a header": bare([*one("X-Own: a\rb", sized), body]),
        "NUL in a header": bare([*one("X-Own: a\0b", sized), body]),
        "no version": bare([f"PUT {target}\r\n\r\n".encode()]),
        "other version": bare(one(version="HTTP/3.0")),
        "no HTTP at all": bare([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n"]),
    }


def reply_of(raw: bytes) -> Reply:
    """Read an answer off the wire; the lengths must agree."""
    told, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = told.decode("latin-1").split("\r\n")
    headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
    assert int(headers["content-length"]) == len(body)
    return Reply(int(first.split(" ")[1]), headers, body)
