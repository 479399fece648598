"""Uploads of photos to S3: only what changed, in parallel."""

import functools
import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any

from dogbreeds.cloud.aws import Cloud, CloudError
from dogbreeds.cloud.s3 import THREADS, in_parallel, objects_in, parse
from dogbreeds.cloud.settings import CloudSettings
from dogbreeds.data.folders import find_roots
from dogbreeds.data.labels import find_labels
from dogbreeds.data.listing import walk
from dogbreeds.data.photo import PhotosError
from dogbreeds.data.shards import INDEX
from dogbreeds.model.photo_formats import is_photo_file

_PART = 16 * 2**20  # bytes; larger files are uploaded in parts
_DELETED_AT_ONCE = 1000  # S3's limit
# S3 rejects clocks with a larger offset, so a file older than its object by more is unchanged.
_CLOCK_SKEW = 15 * 60


@dataclass(frozen=True)
class Plan:
    """The difference between local photos and S3."""

    address: str  # s3://BUCKET/PREFIX, without a trailing slash
    files: dict[str, Path]  # to send, by name below the address
    unchanged: int  # number of files that S3 has already
    surplus: list[str]  # names below the address that are not among the photos


def destination(settings: CloudSettings) -> str:
    """Return the address for photos: where jobs read them, else a folder of the bucket."""
    if settings.training.data:
        return settings.training.data.rstrip("/")
    settings.require("aws.bucket")
    return f"s3://{settings.aws.bucket}/{settings.aws.prefix}/photos"


def find_files(folder: Path) -> dict[str, Path]:
    """Return the photos, shards and labels of a photos directory.

    They are keyed by path, with the canonical name of the split: jobs read ``valid``, not ``val``.
    PhotosError if there are none, or S3 cannot store a file's name.
    """
    files = {}
    for split, root in find_roots(folder).items():
        for path in walk(root):
            if not path.is_file():  # a broken link
                continue
            if path.suffix.lower() == ".tar" or path.name == INDEX or is_photo_file(path):
                files[(PurePath(split) / path.relative_to(root)).as_posix()] = path
        if labels := find_labels(root):
            files[(PurePath(split) / labels.name).as_posix()] = labels
    if not files:
        raise PhotosError(f"expected photos or shards in {folder}, found none")
    for name in files:
        if not name.isprintable():  # control codes, and bytes that are not UTF-8
            raise PhotosError(f"expected file names that S3 can hold, got {name!r}: rename it")
    return files


def plan(cloud: Cloud, address: str, files: Mapping[str, Path]) -> Plan:
    """Compare photos, as of `find_files`, with the objects below ``s3://BUCKET/PREFIX``.

    A file is sent if S3 has none of its name and size, or if it was touched after the upload and
    its ETag differs from the object's. (With KMS encryption, ETags are no digests of the content;
    then every touched file is sent again.)
    """
    _, prefix = parse(address)
    changed: dict[str, Future[bool]] = {}
    surplus = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # compares while the next objects are listed
        for found in objects_in(cloud, address):
            name = found["Key"].removeprefix(prefix).lstrip("/")
            if name in files:
                changed[name] = pool.submit(_changed, files[name], found)
            else:
                surplus.append(name)
    new = {n: path for n, path in files.items() if n not in changed or changed[n].result()}
    return Plan(address, new, len(files) - len(new), sorted(surplus))


def _changed(path: Path, there: Mapping[str, Any]) -> bool:
    status = path.stat()
    if there["Size"] != status.st_size:
        return True
    sent: datetime = there["LastModified"]
    # Check ctime too: a copied or unpacked file may keep an old mtime.
    touched = max(status.st_mtime, status.st_ctime)
    return touched > sent.timestamp() - _CLOCK_SKEW and there["ETag"].strip('"') != _etag(path)


def _etag(path: Path) -> str:
    """Return the ETag that S3 assigns in `send`: of the bytes, or of the hashes of the parts."""
    md5 = functools.partial(hashlib.md5, usedforsecurity=False)
    with path.open("rb") as stream:
        hashes = [md5(part) for part in iter(functools.partial(stream.read, _PART), b"")]
    if path.stat().st_size < _PART:
        return (hashes or [md5()])[0].hexdigest()
    return f"{md5(b''.join(part.digest() for part in hashes)).hexdigest()}-{len(hashes)}"


def send(cloud: Cloud, planned: Plan, on_progress: Callable[[int], object]) -> None:
    """Upload files; S3 verifies each by a CRC-32 that is computed here.

    `on_progress` is called with the number of bytes of each uploaded file. CloudError if an upload
    failed, OSError if a file cannot be read; uploaded files stay.
    """
    from boto3.s3.transfer import S3UploadFailedError, TransferConfig

    client = cloud.client("s3", connections=2 * THREADS)
    bucket, prefix = parse(planned.address)
    options = {"ChecksumAlgorithm": "CRC32"}
    if key := cloud.settings.aws.kms_key:
        options |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    parts = TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=4)

    def put(name: str) -> int:
        path, target = planned.files[name], f"{prefix}/{name}".lstrip("/")
        size = path.stat().st_size
        if size < _PART:
            client.put_object(Bucket=bucket, Key=target, Body=path.read_bytes(), **options)
        else:
            client.upload_file(str(path), bucket, target, ExtraArgs=options, Config=parts)
        return size

    try:
        in_parallel(put, planned.files, on_progress)
    except S3UploadFailedError as error:
        raise CloudError(f"{error}; run the same command again to resume") from error


def delete_surplus(cloud: Cloud, planned: Plan) -> None:
    """Delete the objects that are not among the photos; CloudError if that fails."""
    bucket, prefix = parse(planned.address)
    keys = [{"Key": f"{prefix}/{name}".lstrip("/")} for name in planned.surplus]
    for start in range(0, len(keys), _DELETED_AT_ONCE):
        batch = {"Objects": keys[start : start + _DELETED_AT_ONCE], "Quiet": True}
        answer = cloud.client("s3").delete_objects(Bucket=bucket, Delete=batch)
        if errors := answer.get("Errors"):
            raise CloudError(f"could not delete {errors[0]['Key']}: {errors[0]['Message']}")
