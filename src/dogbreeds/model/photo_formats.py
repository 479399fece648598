"""Recognize photo formats, and what else a file is, by first bytes and by name."""

import base64
import binascii
import re
from pathlib import Path

FORMATS = "JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC"
"""The supported photo formats."""

_HEAD = 64  # bytes suffice to tell all formats apart

_NAME = re.compile(
    r".+\.(jpe?g|jpe|jf?if|jfi|pjpe?g|pjp|mpo|a?png|webp|bmp|dib|gif|tiff?|avifs?|hei[cf]s?|hif)"
    # Downloads and file managers append these: .jpg_large, .jpg?w=640, .jpg (1), .jpg~, .jpg.1
    r"(\?.*|[_:~( -][^.]*|\.\d+)?",
    re.IGNORECASE | re.DOTALL,
)
_PHOTOS = {  # includes BigTIFF
    b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF", b"BM": "BMP",
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF"),
}  # fmt: skip
_BRANDS = {  # are those of ISO base media files, whose first box is `ftyp`
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "HEIC"),
    **dict.fromkeys((b"mif1", b"mif2", b"msf1"), "HEIC"),  # HEIF, of any codec
}
_OTHERS = {
    b"\0\0\0\x0cJXL ": "a JPEG XL picture", b"\xff\x0a": "a JPEG XL picture",
    b"\0\0\0\x0cjP": "a JPEG 2000 picture", b"\xff\x4f\xff\x51": "a JPEG 2000 picture",
    b"II\xbc": "a JPEG XR picture", b"BPG\xfb": "a BPG picture", b"qoif": "a QOI picture",
    b"\x76\x2f\x31\x01": "an OpenEXR picture", b"#?RADIANCE": "a Radiance HDR picture",
    b"DDS ": "a DDS texture", b"8BPS": "a Photoshop document (PSD)",
    b"gimp xcf": "a GIMP document (XCF)", b"\0\0\1\0": "an icon (ICO)",
    b"\0\0\2\0": "a cursor (CUR)", b"icns": "an icon (ICNS)", b"%PDF": "a PDF document",
    b"%!PS": "a PostScript document", b"\xc5\xd0\xd3\xc6": "an EPS document",
    b"IIRO": "a camera's raw file (ORF)", b"IIU\0": "a camera's raw file (RW2)",
    b"FUJIFILMCCD-RAW": "a camera's raw file (RAF)",
    b"II\x1a\0\0\0HEAP": "a camera's raw file (CRW)",
    b"\x1aE\xdf\xa3": "a video (Matroska or WebM)", b"\0\0\1\xba": "a video (MPEG)",
    b"\0\0\1\xb3": "a video (MPEG)", b"FLV\1": "a video (FLV)",
    b"\x30\x26\xb2\x75": "a video (WMV)", b"ID3": "an audio file (MP3)",
    b"OggS": "an audio or video file (Ogg)", b"PK\3\4": "a zip file", b"\x1f\x8b": "a gzip file",
    b"7z\xbc\xaf": "a 7z file", b"Rar!": "a RAR file", b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file", b"\0\5\x16\7": "a macOS resource file (._NAME)",
    b"\0\0\0\1Bud1": "a macOS .DS_Store file",
    b"\xd0\xcf\x11\xe0": "a Windows document, such as Thumbs.db",
    b"version https://git-lfs": "a git-LFS pointer (fetch the photo with `git lfs pull`)",
    b"/annex/objects/": "a git-annex pointer (fetch the photo with `git annex get`)",
    b"data:image/": "base64 text (a data: URL)",
}  # fmt: skip


def is_photo_name(name: str) -> bool:
    """Tell whether a file name (no folders) is a photo's: ``a.JPG``, ``a.jfif``, ``a.jpg (1)``."""
    return not name.startswith(".") and _NAME.fullmatch(name) is not None


def is_photo_file(path: Path) -> bool:
    """Tell whether a file is a photo: by its name, or else by its first bytes.

    Raises:
        OSError: It has no photo name, and cannot be read.
    """
    if is_photo_name(path.name):
        return True
    with path.open("rb") as stream:
        return photo_format(stream.read(_HEAD)) is not None


def photo_format(head: bytes) -> str | None:
    """Return the photo format, e.g. ``"JPEG"``, of at least 16 first bytes; None if it is none."""
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12])
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    return next((name for magic, name in _PHOTOS.items() if head.startswith(magic)), None)


def describe(data: bytes) -> str:
    """Describe the bytes of a file that is no photo, in words that follow "got"."""
    head = data[:_HEAD]
    if not head:
        return "an empty file"
    if not head.strip(b"\0") and not data.strip(b"\0"):
        return f"{len(data)} zero bytes (a copy that failed)"
    if head[4:8] == b"ftyp":
        kind = head[8:12]
        return "a camera's raw file (CR3)" if kind == b"crx " else f"a video ({_ascii(kind)})"
    if head[:4] == b"RIFF":
        return f"a RIFF file ({_ascii(head[8:12])}: video or audio)"
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            return name
    if (start := data.find(b"\xff\xd8\xff", 0, 4096)) > 0:
        return f"{start} other bytes before a JPEG photo (remove them)"
    return _describe_text(data) or f"something else (it begins with {head[:8].hex(' ')})"


def _describe_text(data: bytes) -> str | None:
    """Return the kind of text that bytes are; None where they are none."""
    text = data[:2048].decode("utf-8-sig", errors="ignore").strip()
    if not "".join(text.split()).isprintable():
        return None
    lower = text.lower()
    shown = f'that begins with "{_ascii(text[:80].encode())}"'
    if "<svg" in lower:
        return "an SVG drawing"
    if lower.startswith(("<!doctype html", "<html", "<head", "<body")) or "<html" in lower:
        return f"an HTML page {shown}"
    if lower.startswith("<"):
        start = re.sub(r"^<\?xml.*?\?>\s*", "", text, flags=re.DOTALL)[:80]
        return f'an XML document that begins with "{_ascii(start.encode())}"'
    try:
        packed = "".join(text.split())[:_HEAD].translate(str.maketrans("-_", "+/"))
        decoded = base64.b64decode(packed, validate=True) if len(packed) == _HEAD else b""
    except (binascii.Error, ValueError):
        decoded = b""
    if found := photo_format(decoded):
        return f"base64 text (of a {found} photo)"
    return f"text {shown}"


def _ascii(value: bytes) -> str:
    """Return bytes as printable ASCII on one line."""
    return re.sub(r"[^ -~]+", " ", value.decode("ascii", errors="replace")).replace('"', "'")
