"""`dogbreeds data upload` and `fetch` with S3, over real HTTP."""

import base64
import io
import json
import os
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import IncompleteReadError
from botocore.response import StreamingBody

from dogbreeds.cloud import upload
from dogbreeds.data import download
from helpers.control_plane import Calls, Result

Run = Callable[..., Result]


@pytest.fixture
def aws(aws: boto3.Session) -> boto3.Session:
    """An empty bucket."""
    for split in ("train", "valid", "test"):
        aws.client("s3").delete_object(Bucket="dog-bucket", Key=f"photos/{split}/1.A/a.jpg")
    return aws


@pytest.fixture
def photos(workplace: Path) -> Path:
    """Six photos (to S3 their content does not matter), and what is none."""
    root = workplace / "photos"
    for number in range(6):
        file = root / ("train", "test")[number // 4] / "001.Äffin +&%" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes([number]) * 1000)
    (root / "train" / "001.Äffin +&%" / "Thumbs.db").touch()
    (root / "train" / ".hidden.jpg").touch()
    return root


def keys(aws: boto3.Session, prefix: str = "photos/") -> dict[str, dict[str, Any]]:
    found = aws.client("s3").list_objects_v2(Bucket="dog-bucket", Prefix=prefix)
    return {entry["Key"].removeprefix(prefix): entry for entry in found.get("Contents", [])}


def names(photos: Path) -> set[str]:
    files = {str(path.relative_to(photos)) for path in photos.rglob("*.jpg")}
    return files - {"train/.hidden.jpg"}


def test_photos_and_nothing_else_are_sent_with_checksums(
    dogbreeds: Run, aws: boto3.Session, photos: Path
) -> None:
    result = dogbreeds("data", "upload", str(photos))
    assert (result.code, set(keys(aws))) == (0, names(photos))
    assert "6 files sent, 0 were there already, 0 deleted" in result.out
    key = "photos/train/001.Äffin +&%/3.jpg"
    head = aws.client("s3").head_object(Bucket="dog-bucket", Key=key, ChecksumMode="ENABLED")
    expected = zlib.crc32(bytes([3]) * 1000).to_bytes(4, "big")
    assert base64.b64decode(head["ChecksumCRC32"]) == expected


def test_only_what_changed_is_sent_again(
    dogbreeds: Run, aws: boto3.Session, photos: Path, calls: Calls
) -> None:
    dogbreeds("data", "upload", str(photos))
    folder = photos / "train" / "001.Äffin +&%"
    old = (folder / "0.jpg").stat().st_mtime - 1e6
    (folder / "0.jpg").write_bytes(b"x" * 1000)  # of the same size
    os.utime(folder / "0.jpg", (old, old))  # and by its date older than the object
    (folder / "1.jpg").write_bytes(b"shorter")
    (folder / "2.jpg").touch()  # of the same content
    (folder / "new.jpg").write_bytes(b"new")
    calls.clear()
    result = dogbreeds("data", "upload", str(photos))
    assert "3 files sent, 4 were there already" in result.out
    sent = {call["Key"].rpartition("/")[2] for call in calls.of("PutObject")}
    assert sent == {"0.jpg", "1.jpg", "new.jpg"}
    body = (
        aws.client("s3")
        .get_object(Bucket="dog-bucket", Key="photos/train/001.Äffin +&%/0.jpg")["Body"]
        .read()
    )
    assert body == b"x" * 1000


def test_an_old_file_is_not_even_read(
    dogbreeds: Run, aws: boto3.Session, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dogbreeds("data", "upload", str(photos))
    monkeypatch.setattr(upload, "_CLOCK_SKEW", -2)  # as if all of this were a while ago
    time.sleep(0.01)
    monkeypatch.setattr(upload, "_etag", lambda path: pytest.fail(f"{path} was read"))
    assert "0 files sent, 6 were there already" in dogbreeds("data", "upload", str(photos)).out


def test_nothing_is_deleted_unless_asked(
    dogbreeds: Run, aws: boto3.Session, photos: Path, calls: Calls
) -> None:
    s3 = aws.client("s3")
    s3.put_object(Bucket="dog-bucket", Key="photos/train/old.jpg", Body=b"")
    s3.put_object(Bucket="dog-bucket", Key="photos-of-others/a.jpg", Body=b"")
    result = dogbreeds("data", "upload", str(photos))
    assert "1 more files are on S3: --delete deletes them" in result.out
    assert "train/old.jpg" in keys(aws)
    result = dogbreeds("data", "upload", str(photos), "--delete", "--dry-run")
    assert "delete s3://dog-bucket/photos/train/old.jpg" in result.out
    assert "train/old.jpg" in keys(aws)
    result = dogbreeds("data", "upload", str(photos), "--delete")
    assert "1 deleted" in result.out
    assert keys(aws).keys() == names(photos)
    assert keys(aws, "photos-of-others/")


def test_a_dry_run_sends_nothing(
    dogbreeds: Run, aws: boto3.Session, photos: Path, calls: Calls
) -> None:
    result = dogbreeds("data", "upload", str(photos), "--dry-run")
    assert result.out.count("upload s3://dog-bucket/photos/") == 6
    assert "6 files would be sent" in result.out
    assert {name for _, name, _ in calls} == {"ListObjectsV2"}


def test_large_files_go_up_in_parts_and_are_known_again(
    dogbreeds: Run, aws: boto3.Session, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "_PART", 5 * 2**20)  # S3's least
    shards = workplace / "shards" / "train"
    shards.mkdir(parents=True)
    (shards / "train-000000.tar").write_bytes(os.urandom(11 * 2**20))
    (shards / "train-000001.tar").write_bytes(os.urandom(5 * 2**20))  # just one part
    (shards / "index.jsonl").write_text("{}")
    assert "3 files sent" in dogbreeds("data", "upload", "shards").out
    sent = keys(aws)["train/train-000000.tar"]
    assert (sent["Size"], sent["ETag"].endswith('-3"')) == (11 * 2**20, True)
    assert "0 files sent, 3 were there" in dogbreeds("data", "upload", "shards").out


def test_without_an_address_photos_go_to_the_bucket_and_the_setting_is_told(
    dogbreeds: Run, aws: boto3.Session, photos: Path
) -> None:
    file = Path("dogbreeds.toml")
    file.write_text(file.read_text().replace('data = "s3://dog-bucket/photos"', ""))
    result = dogbreeds("data", "upload", str(photos))
    assert '[training]\n  data = "s3://dog-bucket/dogbreeds/photos"' in result.out
    assert keys(aws, "dogbreeds/photos/").keys() == names(photos)


def test_a_key_of_the_users_own_encrypts(
    dogbreeds: Run, aws: boto3.Session, photos: Path, calls: Calls
) -> None:
    dogbreeds("data", "upload", str(photos), "--kms-key", "key-1")
    for call in calls.of("PutObject"):
        assert (call["ServerSideEncryption"], call["SSEKMSKeyId"]) == ("aws:kms", "key-1")


def test_what_cannot_be_sent_is_told_and_nothing_is_deleted(
    dogbreeds: Run, aws: boto3.Session, photos: Path
) -> None:
    aws.client("s3").put_object(Bucket="dog-bucket", Key="photos/train/a.jpg", Body=b"")
    (photos.parent / "empty").mkdir()
    result = dogbreeds("data", "upload", "empty", "--delete")
    assert (result.code, "expected photos or shards" in result.err) == (1, True)
    (photos / "train" / "new\nline.jpg").touch()
    result = dogbreeds("data", "upload", str(photos), "--delete")
    assert (result.code, r"'train/new\nline.jpg': rename it" in result.err) == (1, True)
    assert keys(aws).keys() == {"train/a.jpg"}
    result = dogbreeds("data", "upload", str(photos), "--data", "s3://no-such-bucket/photos")
    assert result.code == 1


def test_a_missing_bucket_is_an_error_that_says_so(
    dogbreeds: Run, aws: boto3.Session, photos: Path
) -> None:
    result = dogbreeds("data", "upload", str(photos), "--data", "s3://no-such-bucket/photos")
    assert (result.code, "there is no bucket no-such-bucket" in result.err) == (1, True)


def test_uploaded_photos_are_fetched_again(
    dogbreeds: Run, aws: boto3.Session, photos: Path
) -> None:
    dogbreeds("data", "upload", str(photos))
    result = dogbreeds("data", "fetch", "s3://dog-bucket/photos")
    assert (result.code, "1 classes, 4 train, 2 test" in result.out) == (0, True)
    for name in names(photos):
        assert Path("dogImages", name).read_bytes() == (photos / name).read_bytes()


@pytest.mark.parametrize(
    ("part", "changed", "ranges"),
    [
        (0, False, [None]),
        (100, False, ["bytes=100-"]),
        (100, True, ["bytes=100-", None]),
        (None, False, ["bytes={}-"]),
    ],
)
def test_an_archive_on_s3_is_fetched_from_where_it_broke_off(
    dogbreeds: Run,
    aws: boto3.Session,
    calls: Calls,
    part: int | None,
    changed: bool,
    ranges: list[str | None],
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("dogs/train/a/1.jpg", b"1")
        archive.writestr("dogs/test/a/2.jpg", b"2")
    body = buffer.getvalue()
    s3 = aws.client("s3")
    etag = s3.put_object(Bucket="dog-bucket", Key="dogs.zip", Body=body)["ETag"]
    work = Path(".dogImages.fetch")
    work.mkdir()
    (work / "archive").write_bytes(body[:part])
    version = '"another"' if changed else etag
    state = {"address": "s3://dog-bucket/dogs.zip", "version": version}
    (work / "archive.json").write_text(json.dumps(state))
    assert dogbreeds("data", "fetch", "s3://dog-bucket/dogs.zip").code == 0
    asked = [call.get("Range") for call in calls.of("GetObject")]
    assert asked == [text and text.format(len(body)) for text in ranges]
    assert Path("dogImages/test/a/2.jpg").read_bytes() == b"2"
    assert not work.exists()


def test_an_object_that_breaks_off_is_gone_on_from(
    dogbreeds: Run, aws: boto3.Session, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("train/a/1.jpg", os.urandom(5000))
    aws.client("s3").put_object(Bucket="dog-bucket", Key="dogs.zip", Body=buffer.getvalue())
    read, broken = StreamingBody.read, [True]

    def break_off(body: StreamingBody, amt: int) -> bytes:
        if broken and broken.pop():
            return bytes(read(body, 1000))
        if body._amount_read == 1000:  # what botocore raises when the connection was closed
            raise IncompleteReadError(actual_bytes=1000, expected_bytes=5000)
        return bytes(read(body, amt))

    monkeypatch.setattr(StreamingBody, "read", break_off)
    monkeypatch.setattr(download, "_PAUSES", (0.01,))
    assert dogbreeds("data", "fetch", "s3://dog-bucket/dogs.zip").code == 0
    assert [call.get("Range") for call in calls.of("GetObject")] == [None, "bytes=1000-"]


def test_a_missing_archive_is_an_error(dogbreeds: Run, aws: boto3.Session) -> None:
    result = dogbreeds("data", "fetch", "s3://dog-bucket/missing.zip")
    assert (result.code, "NoSuchKey" in result.err) == (1, True)
