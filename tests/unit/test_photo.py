import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dogbreeds.model import photo as photo_module
from dogbreeds.model.photo import PhotoError, PhotoTooLargeError, decode
from dogbreeds.model.preprocessing import Preprocessing


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def photo(width: int = 400, height: int = 300) -> Image.Image:
    """A smooth picture whose corners differ: red to the right, green downwards."""
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([x, y, np.full_like(x, 64)], 2).astype(np.uint8))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_documented_formats_decode_to_the_same_picture(format: str) -> None:
    decoded = decode(encode(photo(), format))
    assert (decoded.mode, decoded.size) == ("RGB", (400, 300))
    difference = np.abs(np.asarray(decoded, float) - np.asarray(photo(), float))
    assert difference.mean() < (12 if format == "GIF" else 3)  # GIF has 256 colours


def test_a_path_is_read_like_its_bytes(tmp_path: Path) -> None:
    data = encode(photo(), "JPEG")
    (tmp_path / "a.jpg").write_bytes(data)
    assert decode(tmp_path / "a.jpg").tobytes() == decode(data).tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation: int) -> None:
    upright = photo()
    # What a camera stores for each orientation is the inverse of what a viewer must do.
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    operation = inverse.get(orientation)
    stored = upright if operation is None else upright.transpose(Image.Transpose(operation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encode(stored, "JPEG", exif=exif, quality=95))
    assert decoded.size == upright.size
    difference = np.abs(np.asarray(decoded, float) - np.asarray(upright, float))
    assert difference.mean() < 3


def test_cmyk_palette_and_grey_photos_keep_their_brightness() -> None:
    grey = photo().convert("L")
    wanted = np.asarray(grey.convert("RGB"), float).mean()
    for stored in (
        encode(grey.convert("RGB").convert("CMYK"), "JPEG"),
        encode(grey.convert("P"), "PNG"),
        encode(grey, "JPEG"),
        encode(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG"),
    ):
        assert abs(np.asarray(decode(stored), float).mean() - wanted) < 3


def test_transparency_is_laid_on_white() -> None:
    transparent = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    half = Image.new("LA", (20, 20), (0, 128))
    assert decode(encode(transparent, "PNG")).getpixel((5, 5)) == (255, 255, 255)
    value = decode(encode(half, "PNG")).getpixel((5, 5))
    assert isinstance(value, tuple)
    assert all(abs(channel - 127) <= 2 for channel in value)


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data).getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"this is no photo", "something else"),
        (encode(photo(), "JPEG")[:20], "truncated|incomplete|broken"),
        (encode(photo(), "JPEG")[:2000], "truncated"),
        (encode(photo(), "PNG")[:500], "truncated|broken"),
        (b"%PDF-1.4 not a photo", "something else"),
    ],
)
def test_what_is_no_whole_photo_is_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(PhotoError, match=message):
        decode(data)


def test_a_truncated_photo_can_be_tolerated() -> None:
    data = encode(photo(), "JPEG")
    half = decode(data[: len(data) // 2], tolerate_truncated=True)
    assert half.size == (400, 300)
    with pytest.raises(PhotoError):  # the tolerance does not outlast the call
        decode(data[: len(data) // 2])


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_module, "MAX_MEGAPIXELS", 0.1)
    with pytest.raises(PhotoTooLargeError, match="400 x 300"):
        decode(encode(photo(), "JPEG"))


def test_large_photos_are_shrunk_while_decoding_but_not_below_the_need() -> None:
    data = encode(photo(2000, 1600), "JPEG")
    assert decode(data).size == (2000, 1600)
    shrunk = decode(data, 256)
    assert 256 <= min(shrunk.size) < 600
    full = Preprocessing().to_pixels(decode(data)).astype(float)
    fast = Preprocessing().read_pixels(data).astype(float)
    assert np.abs(full - fast).mean() < 2


@pytest.mark.parametrize("resize_size", [224, 256])
def test_preprocessing_matches_torchvisions_resize_and_crop(resize_size: int) -> None:
    from torchvision import transforms

    image = photo(500, 375)
    steps = [transforms.Resize(resize_size), transforms.CenterCrop(224)]
    reference = transforms.Compose(steps)(image)
    ours = Preprocessing(resize_size, 224).to_pixels(image)
    assert ours.shape == (224, 224, 3)
    assert np.abs(ours.astype(float) - np.asarray(reference, float)).mean() < 2


def test_normalize_centres_imagenets_mean_and_is_channels_last() -> None:
    preprocessing = Preprocessing()
    mean = torch.tensor(preprocessing.mean).mul(255).round().to(torch.uint8)
    pixels = mean.expand(2, 8, 8, 3).contiguous()
    normalized = preprocessing.normalize(pixels)
    assert normalized.shape == (2, 3, 8, 8)
    assert normalized.abs().max() < 0.01
    assert normalized.is_contiguous(memory_format=torch.channels_last)


def test_preprocessing_survives_json_and_refuses_nonsense() -> None:
    preprocessing = Preprocessing(146, 128)
    assert Preprocessing.from_dict(preprocessing.to_dict()) == preprocessing
    for wrong in ({"image_size": 0}, {"std": [1, 0, 1]}, {"image_size": 300}):
        with pytest.raises(ValueError, match="expected"):
            Preprocessing.from_dict({**preprocessing.to_dict(), **wrong})
