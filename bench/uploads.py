"""Many documents at once: what the API's memory grows by while it takes them."""

import asyncio
import secrets
import subprocess
from io import BytesIO

from PIL import Image

from bench.client import Connection
from bench.club import Club
from bench.world import World

UPLOADS = 50
SIDE_PX = 1_500
FILE_BYTES_MAX = 5_242_880  # spec redemptions.md §3.2
QUALITIES = range(95, 70, -1)
LOOK_S = 0.02
BOUNDARY = "aval-bench-boundary"
WARM = 2


async def upload_growth_mb(world: World, club: Club) -> float:
    """Megabytes the API process holds more at its highest while selfies of 5 MB arrive together than before."""
    picture = largest_photo()
    await _uploaded(world, club, picture, range(WARM))  # code that the first ones load is no growth
    process, _ = world.largest_process("serve")
    resident = _resident_mb(process)
    highest = resident
    uploads = asyncio.create_task(_uploaded(world, club, picture, range(WARM, WARM + UPLOADS)))
    while not uploads.done():
        highest = max(highest, await asyncio.to_thread(_resident_mb, process))
        await asyncio.sleep(LOOK_S)
    statuses = await uploads
    assert statuses == [201] * UPLOADS, statuses
    return highest - resident


async def _uploaded(world: World, club: Club, picture: bytes, numbers: range) -> list[int]:
    return list(await asyncio.gather(*(_upload(world, club, picture, number) for number in numbers)))


async def _upload(world: World, club: Club, picture: bytes, number: int) -> int:
    connection = await Connection.open(world.port)
    status, _ = await connection.call(_request(club, picture, number))
    connection.close()
    return status


def _request(club: Club, picture: bytes, number: int) -> bytes:
    parts = [_part("type", b"selfie"), _part("side", b"single"), _part('file"; filename="selfie.jpg', picture)]
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    headers = {
        "Host": "127.0.0.1",
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Content-Length": str(len(body)),
        **club.headers(number),
    }
    lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    return f"POST /participants/me/documents HTTP/1.1\r\n{lines}\r\n".encode() + body


def _part(name: str, content: bytes) -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + content + b"\r\n"


def largest_photo() -> bytes:
    """A JPEG that is as large as one may be: noise, which nothing compresses."""
    noise = Image.frombytes("RGB", (SIDE_PX, SIDE_PX), secrets.token_bytes(SIDE_PX * SIDE_PX * 3))
    return next(photo for photo in (_jpeg(noise, quality) for quality in QUALITIES) if len(photo) <= FILE_BYTES_MAX)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    photo = BytesIO()
    image.save(photo, "JPEG", quality=quality, subsampling=0)
    return photo.getvalue()


def _resident_mb(process: int) -> float:
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(process)], text=True)) / 1024
