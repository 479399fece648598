"""Mutated photos and request envelopes: whatever comes, only the documented errors are raised.

``DOGBREEDS_FUZZ_PHOTOS`` and ``DOGBREEDS_FUZZ_ENVELOPES`` set how many are tried.
"""

import base64
import gzip
import io
import json
import random
from collections import Counter
from os import environ
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from dogbreeds.model.photo import PhotoError
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.serving import codecs
from dogbreeds.serving.codecs import RequestError

PREPROCESSING = Preprocessing(32, 32)


def photos() -> list[bytes]:
    """Small photos of every format and kind, with metadata."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)
    picture = Image.fromarray(noise).resize((64, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x011A] = 72.0
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey16 = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    encoded: list[bytes] = [(Path(__file__).parent / "gradient.heic").read_bytes()]
    for image, format, options in (
        (picture, "JPEG", {"exif": exif, "icc_profile": icc}),
        (picture, "JPEG", {"progressive": True}),
        (picture.convert("CMYK"), "JPEG", {}),
        (picture, "PNG", {"exif": exif, "icc_profile": icc}),
        (picture.convert("RGBA"), "PNG", {}),
        (picture.convert("P"), "PNG", {"transparency": 3}),
        (grey16, "PNG", {"transparency": 1000}),
        (picture, "WEBP", {"exif": exif, "icc_profile": icc}),
        (picture.convert("RGBA"), "WEBP", {"lossless": True}),
        (picture, "GIF", {"save_all": True, "append_images": [picture.rotate(90)]}),
        (picture, "BMP", {}),
        (picture, "TIFF", {"exif": exif}),
        (picture, "TIFF", {"compression": "tiff_lzw", "icc_profile": icc}),
        (picture, "TIFF", {"compression": "jpeg"}),
        (grey16, "TIFF", {"tiffinfo": {262: 0}}),
        (picture, "AVIF", {"exif": exif, "icc_profile": icc}),
    ):
        stream = io.BytesIO()
        image.save(stream, format, **options)
        encoded.append(stream.getvalue())
    return encoded


def mutate(randomness: random.Random, data: bytes) -> bytes:
    """Change some bytes, mostly near the start, or cut, repeat or move a part."""
    mutable = bytearray(data)
    kind = randomness.randrange(8)
    if kind < 5:
        end = len(data) if kind < 3 else min(len(data), 400)
        for _ in range(randomness.choice((1, 1, 2, 5, 20))):
            mutable[randomness.randrange(end)] = randomness.choice(
                (0, 1, 255, 128, randomness.randrange(256))
            )
        return bytes(mutable)
    first, second = sorted(randomness.choices(range(len(data)), k=2))
    if kind == 5:
        return data[:first]
    if kind == 6:
        return data[:first] + data[second:]
    return data[:second] + data[first:]


def test_mutated_photos_are_read_or_refused() -> None:
    randomness = random.Random(0)
    seeds = photos()
    outcomes: Counter[str] = Counter()
    for number in range(int(environ.get("DOGBREEDS_FUZZ_PHOTOS", "1000"))):
        data = mutate(randomness, randomness.choice(seeds))
        tolerate = randomness.random() < 0.3
        try:
            pixels = PREPROCESSING.read_pixels(data, tolerate_truncated=tolerate)
            assert pixels.shape == (32, 32, 3), number
            outcomes["read"] += 1
        except PhotoError as error:
            assert str(error).isascii(), number
            assert str(error).isprintable(), number
            outcomes["refused"] += 1
    assert outcomes["read"] > 100
    assert outcomes["refused"] > 100


def test_mutated_envelopes_are_read_or_refused() -> None:
    randomness = random.Random(0)
    text = base64.b64encode(bytes(range(60))).decode()
    seeds = [
        json.dumps(document).encode()
        for document in (
            {"image": text},
            {"image": text, "top_k": 3},
            {"images": [text, text]},
            {"instances": [{"b64": text}, {"b64": text}]},
        )
    ]
    seeds += [seeds[0] + b"\n" + seeds[1], gzip.compress(seeds[0])]
    types = ["application/json", "application/jsonlines", "image/*", "", "text/html"]
    outcomes: Counter[str] = Counter()
    for _ in range(int(environ.get("DOGBREEDS_FUZZ_ENVELOPES", "2000"))):
        body = randomness.choice(seeds)
        headers = {
            "content-type": randomness.choice(types),
            "content-encoding": randomness.choice(["", "", "", "gzip", "deflate", "br"]),
            "accept": randomness.choice(["", "*/*", "text/csv;q=0.1, a/b", "q=;;,", "\udcff"]),
        }
        try:
            request = codecs.read_request(mutate(randomness, body), headers, {}, codecs.JSON)
            assert len(request.photos) == len(request.top_k)
            outcomes["read"] += 1
        except RequestError as error:
            json.dumps(error.to_dict()).encode()
            outcomes[str(int(error.status))] += 1
    assert min(outcomes[key] for key in ("read", "400", "415")) > 20


@pytest.mark.parametrize("size", [0, 1, 2, 16, 4096])
def test_random_bytes_are_refused(size: int) -> None:
    randomness = random.Random(size)
    for _ in range(20):
        with pytest.raises(PhotoError):
            PREPROCESSING.read_pixels(randomness.randbytes(size))
