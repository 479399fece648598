"""`dogbreeds data fetch` in this process, and an archive of photos to fetch."""

import hashlib
import io
import zipfile
from pathlib import Path

from dogbreeds.cli import main


def photos_zip(seed: int = 0, size: int = 3000, top: str = "dogImages/") -> bytes:
    """Return a zip of 2 classes in 3 splits, as macOS makes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(12):
            split, breed = ("train", "valid", "test")[number % 3], f"00{number // 6}.Breed"
            data = hashlib.shake_256(f"{seed}/{number}".encode()).digest(size)
            archive.writestr(f"{top}{split}/{breed}/{number}.jpg", data)
        archive.writestr(f"__MACOSX/{top}train/._0.jpg", b"junk")
        archive.writestr(f"{top}.DS_Store", b"junk")
    return buffer.getvalue()


def run(*arguments: object) -> int:
    return main.main(["data", "fetch", *map(str, arguments)])


def assert_whole(seed: int = 0, folder: str = "dogImages") -> None:
    """Check that all photos of `photos_zip` are there, and nothing else."""
    with zipfile.ZipFile(io.BytesIO(photos_zip(seed))) as archive:
        expected = {
            name.removeprefix("dogImages/"): archive.read(name)
            for name in archive.namelist()
            if name.endswith(".jpg") and "__MACOSX" not in name
        }
    root = Path(folder)
    files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    files.pop(".dogbreeds-fetch.json")
    assert {name: path.read_bytes() for name, path in files.items()} == expected
    assert not list(Path().glob(".*"))
