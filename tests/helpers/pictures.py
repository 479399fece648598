"""Smooth pictures, encoded, and with more segments or chunks than an encoder writes."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

from dogbreeds.model.photo import decode


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def photo(width: int = 400, height: int = 300) -> Image.Image:
    """A smooth picture whose corners differ: red to the right, green downwards."""
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([x, y, np.full_like(x, 64)], 2).astype(np.uint8))


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    """A JPEG with segments put in front of its own."""
    data = encode(photo(), "JPEG", quality=95)
    packed = [struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments]
    return data[:2] + b"".join(packed) + data[2:]


def png_with(*chunks: tuple[bytes, bytes], crc: int = 0) -> bytes:
    """A PNG with chunks put behind its header; `crc` is added to their checksums."""
    data = encode(photo(), "PNG")
    return data[:33] + b"".join(chunk(*each, crc=crc) for each in chunks) + data[33:]


def chunk(kind: bytes, body: bytes, crc: int = 0) -> bytes:
    checksum = zlib.crc32(kind + body) ^ crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def difference(data: bytes, wanted: Image.Image) -> float:
    decoded = decode(data)
    assert decoded.size == wanted.size
    assert decoded.mode == "RGB"
    return float(np.abs(np.asarray(decoded, float) - np.asarray(wanted, float)).mean())


def profile(gamma: float, swapped: bool = False) -> bytes:
    """A matrix profile with sRGB's primaries, another gamma and, if so, red for blue."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for number in range(struct.unpack_from(">I", data, 128)[0]):
        tag, offset, size = struct.unpack_from(">4sII", data, 132 + 12 * number)
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            data[offset : offset + size] = struct.pack(
                ">4sIHHi", b"para", 0, 0, 0, round(gamma * 65536)
            ).ljust(size, b"\0")
        if swapped and tag in (b"rXYZ", b"bXYZ"):
            data[132 + 12 * number] ^= ord("r") ^ ord("b")
    return bytes(data)
