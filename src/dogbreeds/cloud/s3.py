"""Downloads of files and folders from S3."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from dogbreeds.cloud.aws import Cloud, CloudError, error_code, every, get_if_exists
from dogbreeds.data.download import DownloadError, HttpFile, Opened
from dogbreeds.data.listing import is_junk

THREADS = 16
_URL_SECONDS = 12 * 3600


def parse(address: str) -> tuple[str, str]:
    """Split ``s3://BUCKET/KEY`` into bucket and key."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bucket, key


@dataclass(frozen=True)
class S3File:
    """An object, ``s3://BUCKET/KEY``, with resumable download: a `data.download.Remote`."""

    cloud: Cloud
    address: str

    @contextmanager
    def open(self, start: int, version: str) -> Iterator[Opened]:
        """See `dogbreeds.data.download.Remote`."""
        bucket, key = parse(self.address)
        client, name = self.cloud.client("s3"), {"Bucket": bucket, "Key": key}
        head = get_if_exists(client.head_object, **name)
        if head is None:
            raise CloudError(f"there is no {self.address}")
        if (head["ContentLength"], head["ETag"]) == (start, version):
            yield Opened(start, start, version, lambda _: b"")
            return
        url = client.generate_presigned_url("get_object", name, ExpiresIn=_URL_SECONDS)
        try:
            with HttpFile(url).open(start if head["ETag"] == version else 0, version) as opened:
                yield opened
        except DownloadError as error:  # without the URL's signature
            raise DownloadError(str(error).replace(url, self.address)) from None


def objects_in(cloud: Cloud, address: str) -> Iterator[dict[str, Any]]:
    """Yield ``Key``, ``Size``, ``ETag`` and ``LastModified`` of all objects below an address.

    CloudError if the bucket does not exist.
    """
    bucket, prefix = parse(address)
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    client = cloud.client("s3")
    try:
        yield from every(client, "list_objects_v2", "Contents", Bucket=bucket, Prefix=prefix)
    except client.exceptions.NoSuchBucket as error:
        raise CloudError(f"there is no bucket {bucket} ({address})") from error


def holds_objects(cloud: Cloud, address: str) -> bool:
    """Whether an address has objects; True where that cannot be looked up."""
    try:
        return cloud.offline != "" or any(objects_in(cloud, address))
    except ClientError as error:
        if error_code(error).startswith("AccessDenied"):
            return True
        raise


def download_folder(
    cloud: Cloud,
    address: str,
    folder: Path,
    on_start: Callable[[int], Callable[[int], object]] = lambda _: lambda _: None,
) -> int:
    """Download all objects below an address; existing files of the same size are kept.

    Names with a part that begins with a dot (``.DS_Store``, ``..``) and other junk are left out.
    `on_start` is called with the number of files, which is also returned, and its result with 1 per
    file.
    """
    bucket, prefix = parse(address.rstrip("/"))
    client = cloud.client("s3", connections=THREADS)
    objects = {
        name: found
        for found in objects_in(cloud, address)
        if not (name := found["Key"].removeprefix(prefix).lstrip("/")).endswith("/")
        and not any(map(is_junk, name.split("/")))
    }

    def get(name: str) -> int:
        found, file = objects[name], folder / name
        if not file.exists() or file.stat().st_size != found["Size"]:
            file.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, found["Key"], str(file))
        return 1

    in_parallel(get, objects, on_start(len(objects)))
    return len(objects)


def in_parallel(
    transfer: Callable[[str], int], names: Iterable[str], on_progress: Callable[[int], object]
) -> None:
    """Transfer files in `THREADS` threads, until one fails; report what each transfer returns."""
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for done in pool.map(transfer, names):
                on_progress(done)
        finally:
            pool.shutdown(cancel_futures=True)
