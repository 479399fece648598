import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dogbreeds.data import pixels
from dogbreeds.data.folders import Split
from dogbreeds.data.pixels import CacheTier, allocate, choose_tier, decode_split
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.training.device import Device, PixelStore

GIB = 2**30


@pytest.mark.parametrize(
    ("size", "memory", "free", "tier"),
    [
        (5 * GIB, 10 * GIB, 0, "memory"),
        (7 * GIB, 10 * GIB, 9 * GIB, "file"),
        (7 * GIB, 10 * GIB, 7 * GIB, "none"),
    ],
)
def test_pixels_go_to_memory_then_to_a_file_then_nowhere(
    monkeypatch: pytest.MonkeyPatch, size: int, memory: int, free: int, tier: CacheTier
) -> None:
    class Usage:
        pass

    usage = Usage()
    usage.free = free  # type: ignore[attr-defined]
    monkeypatch.setattr(pixels.shutil, "disk_usage", lambda _: usage)  # type: ignore[attr-defined]
    monkeypatch.setattr(pixels, "_is_on_disk", lambda _: True)
    assert choose_tier(size, lambda: memory) == tier


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no tmpfs to try")
def test_a_file_in_memory_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels.tempfile, "gettempdir", lambda: "/dev/shm")  # type: ignore[attr-defined]
    assert choose_tier(1, lambda: 0) == "none"


@pytest.fixture(params=["memory", "file"])
def tier(request: pytest.FixtureRequest) -> Iterator[CacheTier]:
    yield request.param


def test_the_file_has_no_name_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pixels.tempfile, "tempdir", str(tmp_path))  # type: ignore[attr-defined]
    shared = allocate((1000,), "file")
    assert Path(shared.location).readlink().is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_before_anything_is_written() -> None:
    with pytest.raises(OSError) as caught:
        allocate((2**50,), "file")
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    paths = []
    for number in range(21):
        path = tmp_path / f"{number:02d}.png"
        noise = np.random.default_rng(number).integers(0, 256, (50, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        paths.append(path)
    paths[4].write_text("no photo")
    return Split("train", tuple(paths), tuple(range(21)), ())


def test_every_tier_gives_the_same_batches(split: Split) -> None:
    preprocessing = Preprocessing(36, 32)
    cpu = Device(torch.device("cpu"), None)
    found = {}
    tiers: tuple[CacheTier, ...] = ("memory", "file", "none")
    for tier in tiers:
        decoded = decode_split(split, preprocessing, workers=1, cache=tier)
        assert (decoded.pixels is None) == (tier == "none")
        store = PixelStore(decoded, preprocessing, cpu, workers=2)
        order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
        found[tier] = list(store.batches(torch.split(order, 6)))
    assert [len(targets) for _, targets in found["memory"]] == [6, 6, 6, 2]
    for tier in ("file", "none"):
        for (images, targets), (others, other_targets) in zip(
            found["memory"], found[tier], strict=True
        ):
            assert torch.equal(images, others)
            assert torch.equal(targets, other_targets)


def test_leaving_an_epoch_ends_the_decoding_threads(split: Split) -> None:
    preprocessing = Preprocessing(36, 32)
    decoded = decode_split(split, preprocessing, workers=1, cache="none")
    store = PixelStore(decoded, preprocessing, Device(torch.device("cpu"), None))
    before = threading.active_count()
    batches = store.batches(torch.split(torch.arange(20), 4))
    next(batches)
    batches.close()
    assert threading.active_count() <= before
