"""Recognize photo formats, and what else a file is, by first bytes and by name."""

import base64
import binascii
import re
from contextlib import suppress
from importlib import resources
from pathlib import Path

_FORMATS = ("JPEG", "PNG", "WebP", "BMP", "GIF", "TIFF", "AVIF", "HEIC")
FORMATS = f"{', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}"
"""The supported photo formats."""

_HEAD = 64  # bytes suffice to tell all formats apart
_TEXT = 2**16  # bytes in which an SVG or HTML tag is looked for

_NAME = re.compile(
    r".+\.(jpe?g|jpe|jf?if|jfi|pjpe?g|pjp|mpo|a?png|webp|bmp|dib|gif|tiff?|avifs?|hei[cf]s?|hif)"
    # Downloads and file managers append these: .jpg_large, .jpg?w=640, .jpg (1), .jpg~, .jpg.1
    r"(\?.*|[_:~( -][^.]*|\.\d+)?",
    re.IGNORECASE | re.DOTALL,
)
_SIGNATURES = [  # bytes, what has them (a format of `_FORMATS` or words for people), their offset
    (signature.encode().decode("unicode_escape").encode("latin-1"), name, int(offset))
    for line in (resources.files(__package__) / "signatures.tsv").read_text("utf-8").splitlines()
    for signature, name, offset in [line.split("\t")]
]


def is_photo_name(name: str) -> bool:
    """Tell whether a file name (no folders) is a photo's: ``a.JPG``, ``a.jfif``, ``a.jpg (1)``."""
    return not name.startswith(".") and _NAME.fullmatch(name) is not None


def is_photo_file(path: Path) -> bool:
    """Tell whether a file is a photo: by its name, or else by its bytes; OSError if unreadable."""
    if is_photo_name(path.name):
        return True
    with path.open("rb") as stream:
        return photo_format(stream.read(_HEAD)) is not None


def photo_format(head: bytes) -> str | None:
    """Return the photo format, e.g. ``"JPEG"``, of at least 16 first bytes; None if it is none."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    name = _signed(head)
    if name == "BMP" and head[15:18] != bytes(3):  # its header's size is below 256
        return None
    return name if name in _FORMATS else None


def _signed(data: bytes) -> str | None:
    return next((name for sign, name, at in _SIGNATURES if data.startswith(sign, at)), None)


def describe(data: bytes) -> str:
    """Describe the bytes of a file that is no photo, in words that follow "got"."""
    head = data[:_HEAD]
    if not head:
        return "an empty file"
    if not head.strip(b"\0") and not data.strip(b"\0"):
        return f"{len(data)} zero bytes (a copy that failed)"
    # Editors and web servers may put a byte order mark or empty lines first.
    for first in (data[:_TEXT], head.removeprefix(b"\xef\xbb\xbf").lstrip()):
        if (name := _signed(first)) and name not in _FORMATS:
            return name
    if head[4:8] == b"ftyp":
        return f"a video ({_ascii(head[8:12])})"
    if head[:1] == data[188:189] == data[376:377] == b"G":
        return "a video (MPEG transport stream)"
    if head[:4] == b"RIFF":
        return f"a RIFF file ({_ascii(head[8:12])}: video or audio)"
    if (start := data.find(b"\xff\xd8\xff", 0, 4096)) > 0:
        return f"{start} other bytes before a JPEG photo (remove them)"
    return _describe_text(data) or f"something else (it begins with {head[:8].hex(' ')})"


def _describe_text(data: bytes) -> str | None:
    """Return the kind of text that bytes are; None where they are none."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = data[:_TEXT].decode(encoding, errors="ignore").strip()
    if not text or not "".join(text[:2048].split()).isprintable():
        return None
    lower = text.lower()
    shown = f'that begins with "{_ascii(text[:80].encode())}"'
    if "<svg" in lower:
        return "an SVG drawing"
    if re.search("<(!doctype html|html|head|body|meta|script|title)", lower):
        return f"an HTML page {shown}"
    if lower.startswith("<"):
        start = re.sub(r"^<\?xml.*?\?>\s*", "", text, flags=re.DOTALL)[:80]
        return f'an XML document that begins with "{_ascii(start.encode())}"'
    with suppress(binascii.Error, ValueError):
        packed = "".join(text.split()).strip("\"'")[:_HEAD].translate(str.maketrans("-_", "+/"))
        decoded = base64.b64decode(packed[: len(packed) // 4 * 4], validate=True)
        if found := photo_format(decoded):
            return f"base64 text (of a {found} photo)"
    return f"text {shown}"


def _ascii(value: bytes) -> str:
    """Return bytes as printable ASCII on one line."""
    return re.sub(r"[^ -~]+", " ", value.decode("ascii", errors="replace")).replace('"', "'")
