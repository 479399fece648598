"""The job's photos: read once a host, inspected, reported on, ready as batches."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from dogbreeds.data.cache import SharedArray, attach, choose_tier
from dogbreeds.data.folders import Split
from dogbreeds.data.inspection import inspect, warnings
from dogbreeds.data.photo import PhotosError
from dogbreeds.data.pixels import DecodedSplit, decode_split
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.system.files import write_json
from dogbreeds.system.resources import available_cpus
from dogbreeds.system.terminal import progress_bar
from dogbreeds.training.device import Device, PixelStore
from dogbreeds.training.distributed import Cluster
from dogbreeds.training.settings import Settings
from dogbreeds.training.stop import StopRequest


def load_photos(
    splits: Mapping[str, Split],
    classes: tuple[PhotoClass, ...],
    preprocessing: Preprocessing,
    settings: Settings,
    device: Device,
    cluster: Cluster,
    stop: StopRequest,
    report: Path,
) -> dict[str, PixelStore]:
    """Read all photos and make them ready for training.

    Args:
        splits: By name.
        classes: The classes.
        preprocessing: What the model expects.
        settings: How to treat broken photos and where to keep pixels.
        device: Where batches are wanted.
        cluster: One process of each host reads; the others map what it read.
        stop: Asked while photos are read.
        report: The JSON file to write what is odd about the photos to.

    Returns:
        The photos by split name.

    Raises:
        PhotosError: A photo is broken and none may be, a class has no photo left to train on, or
            hosts have different photos.
        Stopped: A stop was asked for.
        OSError: The report or the cache cannot be written.
    """
    _check_same_everywhere(splits, cluster)
    leader = cluster.local_rank == 0
    decoded = (
        _decode(splits, preprocessing, settings, stop, shown=cluster.is_main) if leader else None
    )
    decoded = _from_leader(decoded, cluster)
    if cluster.is_main:
        found = inspect(decoded, splits, preprocessing.image_size)
        write_json(report, found)
        for line in warnings(found):
            print(line, flush=True)
    if lost := set(range(len(classes))) - set(decoded["train"].targets.tolist()):
        raise PhotosError(
            f"class {classes[min(lost)].name} has no photo in train that can be decoded;"
            " see the log for the reasons"
        )
    return {
        name: PixelStore(
            split,
            preprocessing,
            device,
            workers=settings.num_workers or available_cpus(),
            tolerate_truncated=settings.broken_photos == "tolerate",
        )
        for name, split in decoded.items()
    }


def _check_same_everywhere(splits: Mapping[str, Split], cluster: Cluster) -> None:
    counts = cluster.collect({name: len(split.paths) for name, split in splits.items()})
    for count in counts:
        if count != counts[0]:
            raise PhotosError(
                f"expected the same photos on every host, got {counts[0]} and {count}: use the"
                " channel's S3DataDistributionType=FullyReplicated"
            )


def _decode(
    splits: Mapping[str, Split],
    preprocessing: Preprocessing,
    settings: Settings,
    stop: StopRequest,
    *,
    shown: bool,
) -> dict[str, DecodedSplit]:
    photos = sum(len(split.paths) for split in splits.values())
    size = photos * 3 * preprocessing.image_size**2
    chosen = settings.pixel_cache
    cache = choose_tier(size) if chosen == "auto" else chosen
    if shown:
        print(f"Pixel cache: {cache} ({size / 2**20:.0f} MiB)", flush=True)
    decoded = {}
    with progress_bar("Read photos", photos, shown=shown) as bar:

        def on_progress(count: int) -> None:
            bar.update(count)
            stop.check()

        for name, split in splits.items():
            decoded[name] = decode_split(
                split,
                preprocessing,
                workers=settings.num_workers or available_cpus(),
                cache=cache,  # type: ignore[arg-type]  # checked choices
                broken_photos=settings.broken_photos,  # type: ignore[arg-type]
                on_progress=on_progress,
            )
    return decoded


def _from_leader(
    decoded: dict[str, DecodedSplit] | None, cluster: Cluster
) -> dict[str, DecodedSplit]:
    """Return what this host's process 0 decoded; the pixels are mapped and not copied."""
    if cluster.size == 1:
        assert decoded is not None  # noqa: S101
        return decoded
    told = {name: _without_pixels(split) for name, split in (decoded or {}).items()}
    told = cluster.from_local_leader(told)
    if decoded is None:
        decoded = {}
        for name, (split, place) in told.items():
            pixels = SharedArray(attach(*place), place[0]) if place else None
            decoded[name] = dataclasses.replace(split, pixels=pixels)
    # Nobody goes on, and perhaps ends, before all have mapped the pixels.
    cluster.collect(None)
    return decoded


def _without_pixels(split: DecodedSplit) -> tuple[DecodedSplit, tuple[str, tuple[int, ...]] | None]:
    """Return what can be sent of a split, and where its pixels can be mapped."""
    place = (split.pixels.location, split.pixels.array.shape) if split.pixels else None
    return dataclasses.replace(split, pixels=None), place
