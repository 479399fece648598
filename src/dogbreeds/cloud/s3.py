"""Downloads of files and folders from S3."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

from dogbreeds.cloud.aws import Cloud, CloudError, error_code
from dogbreeds.data.download import BrokenOffError, Opened
from dogbreeds.data.listing import is_junk
from dogbreeds.model.archive import ArchiveError

THREADS = 16


def parse(address: str) -> tuple[str, str]:
    """Split ``s3://BUCKET/KEY`` into bucket and key."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bucket, key


class S3File:
    """An object with resumable download: a `dogbreeds.data.download.Remote`.

    Args:
        cloud: The account.
        address: ``s3://BUCKET/KEY``.
    """

    def __init__(self, cloud: Cloud, address: str) -> None:
        self._client = cloud.client("s3")
        self.address = address

    @contextmanager
    def open(self, start: int, version: str) -> Iterator[Opened]:
        """See `dogbreeds.data.download.Remote`."""
        bucket, key = parse(self.address)
        condition = {"Range": f"bytes={start}-", "IfMatch": version} if start else {}
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key, **condition)
        except HTTPClientError as error:
            raise BrokenOffError(f"no answer ({error})") from error
        except ClientError as error:
            # The object changed, or the download was complete already.
            if start and error_code(error) in ("PreconditionFailed", "412", "InvalidRange", "416"):
                head = self._client.head_object(Bucket=bucket, Key=key)
                if (head["ContentLength"], head["ETag"]) == (start, version):
                    yield Opened(start, start, version, lambda _: b"")
                    return
                answer, start = self._client.get_object(Bucket=bucket, Key=key), 0
            else:
                raise
        with closing(answer["Body"]) as body:  # `with body` would skip the length check
            total = start + answer["ContentLength"]

            def read(size: int) -> bytes:
                try:
                    return bytes(body.read(size))
                except (HTTPClientError, IncompleteReadError) as error:
                    raise BrokenOffError(f"the connection broke ({error})") from error

            yield Opened(start, total, answer["ETag"], read)


def holds_objects(cloud: Cloud, address: str) -> bool:
    """Whether an address has objects; True where that cannot be looked up.

    Raises:
        CloudError: The bucket does not exist.
    """
    if cloud.offline:
        return True
    bucket, prefix = parse(address)
    try:
        answer = cloud.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    except ClientError as error:
        if error_code(error).startswith("AccessDenied"):
            return True
        if error_code(error) == "NoSuchBucket":
            raise CloudError(f"there is no bucket {bucket} ({address})") from error
        raise
    return bool(answer.get("Contents"))


def list_objects(cloud: Cloud, address: str) -> Iterator[dict[str, Any]]:
    """Yield ``Key``, ``Size``, ``ETag`` and ``LastModified`` of all objects below an address."""
    bucket, prefix = parse(address)
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    pages = cloud.client("s3").get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", [])


def download_folder(
    cloud: Cloud,
    address: str,
    folder: Path,
    selected: Callable[[str], bool] = lambda _: True,
    on_start: Callable[[int], Callable[[int], object]] = lambda _: lambda _: None,
) -> int:
    """Download all objects below an address; existing files of the same size are kept.

    Args:
        cloud: The account.
        address: ``s3://BUCKET/PREFIX``.
        folder: The target.
        selected: Whether to download a file, by its name below the address.
        on_start: Called with the number of files; its result is called with 1 per file.

    Returns:
        The number of files.

    Raises:
        ArchiveError: A name points outside the folder.
    """
    bucket, prefix = parse(address.rstrip("/"))
    client = cloud.client("s3", connections=THREADS)
    objects = {
        found["Key"].removeprefix(prefix).lstrip("/"): found
        for found in list_objects(cloud, address)
        if not found["Key"].endswith("/")
    }
    objects = {name: found for name, found in objects.items() if selected(name)}
    on_progress = on_start(len(objects))

    def get(name: str) -> int:
        found, file = objects[name], folder / name
        if ".." in name.split("/"):
            raise ArchiveError(f"expected names inside {address}, got {name!r}")
        if not file.exists() or file.stat().st_size != found["Size"]:
            file.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, found["Key"], str(file))
        return 1

    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for done in pool.map(get, objects):
                on_progress(done)
        finally:
            pool.shutdown(cancel_futures=True)
    return len(objects)


def copy_folder(
    cloud: Cloud, address: str, on_start: Callable[[int], Callable[[int], object]]
) -> Callable[[Path], object]:
    """Return a function that downloads photos, for `dogbreeds.data.fetch.fetch_folder`.

    Args:
        cloud: The account.
        address: ``s3://BUCKET/PREFIX``.
        on_start: As in `download_folder`.
    """

    def is_photo(name: str) -> bool:
        return not any(map(is_junk, name.split("/")))

    return lambda target: download_folder(cloud, address, target, is_photo, on_start)
