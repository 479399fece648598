import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import pytest
from PIL import Image

from dogbreeds.data.folders import Split
from dogbreeds.data.photo import PhotosError
from dogbreeds.data.pixels import BrokenPhotos, DecodedSplit, decode_split
from dogbreeds.model.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(32, 32)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """40 photos of growing brightness; number 3 is text, number 20 is cut."""
    paths = []
    for number in range(40):
        path = tmp_path / f"{number:02d}.jpg"
        noise = np.random.default_rng(number).integers(0, 9, (60, 80, 3))
        Image.fromarray((noise + number * 5).astype(np.uint8)).save(path, quality=95)
        paths.append(path)
    paths[3].write_text("no photo")
    paths[20].write_bytes(paths[20].read_bytes()[:-600])
    return Split("train", tuple(paths), tuple(range(40)), ())


def decode(split: Split, broken_photos: BrokenPhotos) -> DecodedSplit:
    return decode_split(split, PREPROCESSING, workers=2, broken_photos=broken_photos)


def test_broken_photos_are_dropped_and_named_and_the_rest_keep_their_targets(split: Split) -> None:
    decoded = decode(split, "drop")
    assert [Path(str(path)).name for path, _ in decoded.broken] == ["03.jpg", "20.jpg"]
    assert "text that begins" in decoded.broken[0][1]
    assert "truncated" in decoded.broken[1][1]
    assert decoded.pixels
    assert decoded.pixels.array.shape == (38, 32, 32, 3)
    for pixels, target, path in zip(
        decoded.pixels.array, decoded.targets, decoded.paths, strict=True
    ):
        assert path == split.paths[target]
        assert np.array_equal(pixels, PREPROCESSING.read_pixels(path))


def test_truncated_photos_can_be_tolerated_but_not_what_is_no_photo(split: Split) -> None:
    decoded = decode(split, "tolerate")
    assert [Path(str(path)).name for path, _ in decoded.broken] == ["03.jpg"]
    assert len(decoded.paths) == 39


def test_a_broken_photo_can_fail_the_job(split: Split) -> None:
    with pytest.raises(PhotosError, match=r"03\.jpg: .* \(2 broken in all\)"):
        decode(split, "fail")


def test_no_photo_left_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no photo")
    with pytest.raises(PhotosError, match="no photo of split test can be decoded"):
        decode(Split("test", (tmp_path / "a.jpg",), (0,), ()), "drop")


def test_progress_counts_every_photo(split: Split) -> None:
    counts: list[int] = []
    decode_split(split, PREPROCESSING, workers=2, on_progress=counts.append)
    assert sum(counts) == 40


def test_a_killed_worker_is_an_error_and_no_endless_wait(split: Split) -> None:
    class OutOfMemory(Preprocessing):
        def to_pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
            os.kill(os.getpid(), signal.SIGKILL)
            return super().to_pixels(image)

    with pytest.raises(OSError, match="memory ran out"):
        decode_split(split, OutOfMemory(32, 32), workers=2)


def test_a_stop_does_not_wait_for_the_rest(split: Split) -> None:
    seen: list[int] = []

    def stop(photos: int) -> None:
        seen.append(photos)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        decode_split(split, PREPROCESSING, workers=1, on_progress=stop)
    assert len(seen) == 1


def test_workers_end_whatever_handlers_the_parent_has(split: Split) -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        for _ in range(20):  # more workers than work: some are still starting at the end
            decode_split(Split("test", split.paths[:1], (0,), ()), PREPROCESSING, workers=4)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_workers_end_with_a_killed_parent() -> None:
    program = (
        "import os, time\n"
        "from dogbreeds.data.workers import in_processes\n"
        "def task(chunk):\n"
        "    os.write(1, b'%d\\n' % os.getpid())\n"
        "    time.sleep(600)\n"
        "list(in_processes(task, 32, workers=2))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        try:
            workers = [psutil.Process(int(parent.stdout.readline())) for _ in range(2)]
        finally:
            parent.kill()
    try:
        assert psutil.wait_procs(workers, timeout=10)[1] == []
    finally:
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
