"""Files and folders on S3, to be fetched."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

from dogbreeds.cloud.aws import Cloud, CloudError, error_code
from dogbreeds.data.archives import ArchiveError
from dogbreeds.data.download import BrokenOffError, Opened
from dogbreeds.data.listing import is_junk

THREADS = 16


def parse(address: str) -> tuple[str, str]:
    """Split ``s3://BUCKET/KEY`` into bucket and key."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bucket, key


class S3File:
    """An object that can be downloaded in several goes: a `dogbreeds.data.download.Remote`.

    Args:
        cloud: Where.
        address: ``s3://BUCKET/KEY``.
    """

    def __init__(self, cloud: Cloud, address: str) -> None:
        self._client = cloud.client("s3")
        self.address = address

    @contextmanager
    def open(self, start: int, version: str) -> Iterator[Opened]:
        """See `dogbreeds.data.download.Remote`."""
        bucket, key = parse(self.address)
        wanted = {"Range": f"bytes={start}-", "IfMatch": version} if start else {}
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key, **wanted)
        except HTTPClientError as error:
            raise BrokenOffError(f"no answer ({error})") from error
        except ClientError as error:
            # It changed, or we have all of it already.
            if start and error_code(error) in ("PreconditionFailed", "412", "InvalidRange", "416"):
                head = self._client.head_object(Bucket=bucket, Key=key)
                if (head["ContentLength"], head["ETag"]) == (start, version):
                    yield Opened(start, start, version, _Body(None))
                    return
                answer, start = self._client.get_object(Bucket=bucket, Key=key), 0
            else:
                raise
        with closing(answer["Body"]) as body:  # `with` alone would give the stream without checks
            total = start + answer["ContentLength"]
            yield Opened(start, total, answer["ETag"], _Body(body))


class _Body:
    """Tells a broken connection in the words of `dogbreeds.data.download`."""

    def __init__(self, body: Any) -> None:  # noqa: ANN401  (botocore's)
        self._body = body

    def read(self, size: int, /) -> bytes:
        if self._body is None:
            return b""
        try:
            return bytes(self._body.read(size))
        except (HTTPClientError, IncompleteReadError) as error:
            raise BrokenOffError(f"the connection broke ({error})") from error


def holds_objects(cloud: Cloud, address: str) -> bool:
    """Whether there is anything below an address; where that cannot be looked up, it may be.

    Raises:
        CloudError: There is no such bucket.
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
    for page in (
        cloud.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    ):
        yield from page.get("Contents", [])


def download_folder(
    cloud: Cloud,
    address: str,
    folder: Path,
    wanted: Callable[[str], bool] = lambda _: True,
    on_start: Callable[[int], Callable[[int], object]] = lambda _: lambda _: None,
) -> int:
    """Download all below an address; files that are there with the same size are kept.

    Args:
        cloud: Where.
        address: ``s3://BUCKET/PREFIX``.
        folder: Where to.
        wanted: Whether a file is to be downloaded, by its name below the address.
        on_start: Called with the number of files; what it returns is called with 1 for each.

    Returns:
        How many files there are.

    Raises:
        ArchiveError: A name would be written outside of the folder.
    """
    bucket, prefix = parse(address.rstrip("/"))
    client = cloud.client("s3", connections=THREADS)
    objects = {
        found["Key"].removeprefix(prefix).lstrip("/"): found
        for found in list_objects(cloud, address)
        if not found["Key"].endswith("/")
    }
    objects = {name: found for name, found in objects.items() if wanted(name)}
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
    """Return what downloads a folder of photos for `dogbreeds.data.fetch.fetch_folder`.

    Args:
        cloud: Where.
        address: ``s3://BUCKET/PREFIX``.
        on_start: As in `download_folder`.
    """

    def is_photo(name: str) -> bool:
        return not any(map(is_junk, name.split("/")))

    return lambda target: download_folder(cloud, address, target, is_photo, on_start)
