"""Downloads of files and folders from S3."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

from dogbreeds.cloud.aws import Cloud, CloudError, error_code, every
from dogbreeds.data.download import BrokenOffError, Opened
from dogbreeds.data.listing import is_junk
from dogbreeds.system.terminal import progress_bar

THREADS = 16


def parse(address: str) -> tuple[str, str]:
    """Split ``s3://BUCKET/KEY`` into bucket and key."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bucket, key


class S3File:
    """An object, ``s3://BUCKET/KEY``, with resumable download: a `data.download.Remote`."""

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


def objects_in(cloud: Cloud, address: str) -> Iterator[dict[str, Any]]:
    """Yield S3's entries of all objects below an address; CloudError if there is no bucket."""
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


def download_folder(cloud: Cloud, address: str, folder: Path) -> int:
    """Download all objects below an address; existing files of the same size are kept.

    Names with a part that begins with a dot (``.DS_Store``, ``..``) and other junk are left out.
    The number of files is returned.
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

    with progress_bar("Download", len(objects), unit=" files") as bar:
        in_parallel(get, objects, bar.update)
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
