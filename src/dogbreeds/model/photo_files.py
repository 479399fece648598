"""Open encoded photos such that broken metadata never makes pixels unusable.

Pillow's readers raise where metadata cannot be parsed. Here, containers are taken apart first:
Pillow gets only what pixels need, and orientation and color profile are parsed leniently.
"""

import contextlib
import hashlib
import io
import re
import warnings
import zlib

from PIL import AvifImagePlugin, Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import OPEN_INFO, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from dogbreeds.model.photo_formats import FORMATS, describe, photo_format
from dogbreeds.system.errors import DogbreedsError

# Photos are decoded in parallel, so the decoder's own threads would only compete.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
warnings.filterwarnings("ignore", module=r"PIL\.")  # on odd metadata, for example

MAX_PROFILE_BYTES = 4 * 2**20
_EOI = b"\xff\xd9"  # a JPEG's end marker
_BARE = {0x00, 0x01, 0xFF, *range(0xD0, 0xDA)}  # fill bytes, and markers without a length
_PADDING = 16  # equal bytes at the end of a compressed picture that are not part of it
_PLAIN = 50  # pixels per byte that only plain pictures reach
_PADDED_EOI = bytes(_PADDING) + _EOI
_EXPECTED = f"a {FORMATS} photo"
_DEPTHS = "8 or 16 bits per channel"
# Pillow knows these white-is-zero pixels as little-endian only.
OPEN_INFO[b"MM", 0, (1,), 1, (16,), ()] = ("I;16B", "I;16B")


class PhotoError(DogbreedsError, ValueError):
    """The bytes are no photo that can be decoded: what was `expected`, and what was `got`."""

    def __init__(self, got: str, expected: str = _EXPECTED) -> None:
        super().__init__(got, expected)
        self.got, self.expected = got, expected

    def __str__(self) -> str:
        return f"expected {self.expected}, got {self.got}"


def open_photo(data: bytes, *, tolerate_truncated: bool = False) -> tuple[ImageFile.ImageFile, str]:
    """Open an encoded photo, whose pixels are decoded later, and name its format.

    In ``info``, ``"orientation"`` is 1 to 8 as in EXIF and ``"icc_profile"`` is the color profile,
    if there is one. PhotoError if the bytes are not a photo, its header is broken, or it is a JPEG
    that ends too early and `tolerate_truncated` is false.
    """
    name = photo_format(data[:64])
    if name is None:
        cut = data == b"\xff\xd8"
        raise PhotoError("a truncated photo: it has only 2 bytes" if cut else describe(data))
    try:
        match name:
            case "JPEG":
                image: ImageFile.ImageFile = _open_jpeg(data, tolerate_truncated)
            case "PNG":
                image = _open_png(data)
            case "TIFF":
                image = _open_tiff(data)
            case "AVIF":
                # AVIF has boxes for the orientation; Pillow raises where its EXIF is damaged.
                data = re.sub(rb"(infe.{8})Exif", rb"\1free", data, count=4, flags=re.DOTALL)
                image = AvifImagePlugin.AvifImageFile(io.BytesIO(data))
                image.info["orientation"] = image.getexif().get(0x0112, 1)
            case "WebP":
                image = _WebP(io.BytesIO(data))
                image.info["orientation"] = exif_orientation(image.info.get("exif", b""))
            case "BMP":
                image = BmpImageFile(io.BytesIO(data))
            case "GIF":
                image = GifImageFile(io.BytesIO(data))
            case _:
                image = _Heic(io.BytesIO(data))
    except PhotoError:
        raise
    except Exception as error:  # parsers raise many types on hostile headers
        raise broken(name, error) from error
    if not tolerate_truncated:
        _refuse_padding(data, name, image.width * image.height)
    return image, name


def _refuse_padding(data: bytes, name: str, pixels: int) -> None:
    """Raise if zeros fill up a WebP, AVIF or HEIC photo to the size that its container states."""
    if len(data.rstrip(b"\0")) * _PLAIN < pixels:  # a plain picture is compressed to zeros
        return
    ends = []
    if name == "WebP":
        ends = [8 + int.from_bytes(data[4:8], "little")]
    elif name in ("AVIF", "HEIC"):
        starts = [found.start() - 4 for found in re.finditer(b"mdat", data)]
        sizes = [int.from_bytes(data[start : start + 4]) for start in starts]  # 0: to the end
        ends = [start + (size or len(data)) for start, size in zip(starts, sizes, strict=True)]
    if any(data[max(0, end - 512) : end] == bytes(512) for end in ends):  # more than encoders leave
        raise PhotoError(f"a truncated {name} photo, filled up with zeros")


def refuse_if_cut(jpeg: bytes) -> None:
    """Raise `PhotoError` if a JPEG's end marker comes before its pixels end."""
    open_photo(jpeg[: jpeg.rindex(_EOI)] if _EOI in jpeg else jpeg)


def broken(name: str, error: Exception) -> PhotoError:
    """Return the error for a photo of format `name` for which the decoder raised `error`."""
    # Decoders quote bytes of the file, but the reason must be one line of the log.
    reason = re.sub("[^ -~]+", " ", str(error))[:200] or type(error).__name__
    if isinstance(error, EOFError) or re.search("runcated|requires a buffer", reason):
        return PhotoError(f"a truncated {name} photo")
    if reason == "unknown pixel mode":  # Pillow's
        return PhotoError(f"a {name} photo of another kind, e.g. of floating-point pixels", _DEPTHS)
    return PhotoError(f"a broken {name} photo ({reason})")


def exif_orientation(exif: bytes) -> int:
    """Return the orientation in EXIF data, 1 to 8, however broken the rest; 1 if there is none."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "little", b"MM": "big"}.get(exif[:2])
    if order is None or exif[2:4] not in (b"*\0", b"\0*"):
        return 1

    def number(start: int, size: int) -> int:
        return int.from_bytes(exif[start : start + size], order)  # type: ignore[arg-type]

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        if entry + 12 > len(exif):
            break
        if number(entry, 2) == 0x0112:
            size = {1: 1, 6: 1, 7: 1, 4: 4, 9: 4}.get(number(entry + 2, 2), 2)
            value = number(entry + 8, size)
            return value if 1 <= value <= 8 else 1
    return 1


def _open_jpeg(data: bytes, tolerate_truncated: bool) -> ImageFile.ImageFile:
    parts, exif, profile, adobe = [data[:2]], b"", dict[int, bytes](), False
    start = 2
    while True:
        start = data.find(b"\xff", start)
        if start < 0 or start + 4 > len(data):
            raise PhotoError("a truncated JPEG photo: its header is incomplete")
        marker = data[start + 1]
        if marker in _BARE:
            start += 1
            continue
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4])
        if marker == 0xDA:  # start of scan
            break
        body = start + 4
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if marker & 3 == 3 or marker & 7 > 4:
                raise PhotoError("a lossless or hierarchical JPEG photo", "a baseline JPEG")
            if data[body : body + 1] != b"\x08":
                raise PhotoError(f"a JPEG photo of {data[body]} bits", "8 bits per channel")
        if marker == 0xE1 and data.startswith(b"Exif\0", body):
            exif = exif or data[body:end]
        elif marker == 0xE2 and data.startswith(b"ICC_PROFILE\0", body):
            profile[data[body + 12]] = data[body + 14 : end]
        adobe |= (color := marker == 0xEE and data.startswith(b"Adobe", body) and end - body >= 12)
        color |= marker == 0xE0 and data.startswith(b"JFIF\0", body) and end - body >= 14
        if color or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(data[start:end])
        start = max(end, start + 2)
    scan = sum(map(len, parts))
    jpeg = b"".join((*parts, memoryview(data)[start:]))
    if jpeg.endswith(_PADDED_EOI) or (not jpeg.endswith(_EOI) and jpeg.find(_EOI, scan) < 0):
        jpeg = _with_end(jpeg.removesuffix(_EOI), tolerate_truncated)
    image = JpegImageFile(io.BytesIO(jpeg))
    if image.mode == "CMYK" and not adobe:  # Pillow inverts it, as only Adobe's programs need
        image.tile = [tile._replace(args=("CMYK", "")) for tile in image.tile]
    image.info["orientation"] = exif_orientation(exif)
    if profile:
        image.info["icc_profile"] = b"".join(profile[number] for number in sorted(profile))
    return image


def _with_end(jpeg: bytes, tolerate_truncated: bool) -> bytes:
    """Append the end marker to a JPEG without one, if the marker is all that it lacks.

    Decoders skip what follows a complete scan, so different fillers must not change the picture;
    libjpeg's own warning is not accessible. A failed download or copy leaves one byte repeated.
    """
    end = len(jpeg.rstrip(jpeg[-1:]))
    jpeg = jpeg[: end if len(jpeg) - end >= _PADDING else None].removesuffix(b"\xff")
    if not tolerate_truncated:
        pictures = []
        for filler in (b"\0", b"\xaa"):
            image = JpegImageFile(io.BytesIO(jpeg + filler * 64 + _EOI))
            pictures.append(hashlib.blake2b(image.tobytes()).digest())
        if pictures[0] != pictures[1]:
            raise PhotoError("a truncated JPEG photo")
    return jpeg + _EOI


def _open_png(data: bytes) -> ImageFile.ImageFile:
    view, info, start = memoryview(data), dict[str, bytes](), 8
    parts = [view[:8]]
    depth = color_type = 0
    while start + 8 <= len(data):
        kind = data[start + 4 : start + 8]
        end = start + 12 + int.from_bytes(data[start : start + 4])
        body = data[start + 8 : end - 4] if kind in (b"IHDR", b"tRNS", b"iCCP", b"eXIf") else b""
        if kind == b"IHDR" and len(body) == 13:
            depth, color_type = body[8:10]
        elif kind == b"CgBI":
            raise PhotoError("a PNG that Xcode has optimized for iOS")
        elif kind == b"iCCP":
            profile = body[body.find(b"\0") + 2 :]
            with contextlib.suppress(zlib.error):  # ignore a broken profile
                info["icc_profile"] = zlib.decompressobj().decompress(profile, MAX_PROFILE_BYTES)
        elif kind == b"eXIf":
            info["exif"] = body
        needed = kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND")
        if kind == b"tRNS" and len(body) >= {0: 2, 2: 6, 3: 1}.get(color_type, 257):
            needed = zlib.crc32(kind + body) == int.from_bytes(data[end - 4 : end])
        if needed:
            parts.append(view[start:end])
        start = end
    png = data if sum(map(len, parts)) == len(data) else b"".join(parts)
    image = PngImageFile(io.BytesIO(png))
    image.info.update(info, orientation=exif_orientation(info.get("exif", b"")))
    clear = image.info.get("transparency")  # is in the file's depth, but pixels have 8 bits
    if isinstance(clear, tuple) and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    elif isinstance(clear, int) and depth < 8:
        image.info["transparency"] = clear * 255 // (2**depth - 1)
    return image


class _Tiff(TiffImageFile):
    def load_end(self) -> None:
        """Skip Pillow's parsing of EXIF."""


def _open_tiff(data: bytes) -> ImageFile.ImageFile:
    image = _Tiff(io.BytesIO(data))
    tags = image.tag_v2
    if tags.get(254, 0) == 1 or 50706 in tags:  # the first picture is only a preview
        raise PhotoError("a camera's raw file (such as DNG, NEF or ARW)")
    if image.mode in ("F", "I") and 16 not in tags.get(258, ()):
        raise PhotoError(f"a TIFF photo of {tags.get(258, '?')} bits", _DEPTHS)
    orientation = tags.get(0x0112, 1)
    image.info["orientation"] = orientation if orientation in range(1, 9) else 1
    image.info["white_is_zero"] = tags.get(262) == 0
    return image


class _WebP(WebPImageFile):
    def load_prepare(self) -> None:
        """Free the decoder, which holds two more copies of the picture."""
        self._decoder = None
        super().load_prepare()


class _Heic(ImageFile.ImageFile):
    format = "HEIC"

    def _open(self) -> None:
        import pi_heif  # imported on demand: most jobs have no HEIC photo

        options = pi_heif.options
        options.DECODE_THREADS = 1
        options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
        file = pi_heif.HeifFile(self.fp, remove_stride=False)
        self._photo = file[file.primary_index]
        self._size, self._mode = self._photo.size, self._photo.mode
        if profile := self._photo.info.get("icc_profile"):
            self.info["icc_profile"] = profile

    def load(self) -> None:
        """Decode the pixels; libheif turns them upright."""
        if photo := self._photo:
            raw = ("raw", photo.mode, photo.stride)
            decoded = Image.frombytes(photo.mode, photo.size, photo.data, *raw)
            self.im, self._size, self._photo = decoded.im, decoded.size, None
        Image.Image.load(self)
