"""The job's photos: read once per host, inspected, and ready as batches."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from dogbreeds.data.folders import Split
from dogbreeds.data.inspection import inspect, warnings
from dogbreeds.data.photo import PhotosError
from dogbreeds.data.pixels import DecodedSplit, SharedArray, attach, choose_tier, decode_split
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
    splits: Mapping[str, Split], classes: tuple[PhotoClass, ...], preprocessing: Preprocessing,
    settings: Settings, device: Device, cluster: Cluster, stop: StopRequest, report: Path,
) -> dict[str, PixelStore]:  # fmt: skip
    """Read all photos and return them ready for training, by split name.

    One process per host reads; the others map its pixels. `report` is the JSON file for the data
    inspection. PhotosError if a photo is broken and ``broken_photos`` is ``fail``, a class has no
    photo left to train on, or hosts have different photos; Stopped if a stop was requested; OSError
    if report or cache cannot be written.
    """
    counts = cluster.collect({name: len(split.paths) for name, split in splits.items()})
    for count in counts:
        if count != counts[0]:
            raise PhotosError(
                f"expected the same photos on every host, got {counts[0]} and {count}: use the"
                " channel's S3DataDistributionType=FullyReplicated"
            )
    workers = settings.num_workers or available_cpus()
    decoded = None
    if cluster.local_rank == 0:
        decoded = _decode(splits, preprocessing, settings, workers, stop, shown=cluster.is_main)
    decoded = _share(decoded, cluster)
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
    tolerate = settings.broken_photos == "tolerate"
    return {
        name: PixelStore(split, preprocessing, device, workers=workers, tolerate_truncated=tolerate)
        for name, split in decoded.items()
    }


def _decode(
    splits: Mapping[str, Split], preprocessing: Preprocessing, settings: Settings, workers: int,
    stop: StopRequest, *, shown: bool,
) -> dict[str, DecodedSplit]:  # fmt: skip
    photos = sum(len(split.paths) for split in splits.values())
    size = photos * 3 * preprocessing.image_size**2
    cache = choose_tier(size) if settings.pixel_cache == "auto" else settings.pixel_cache
    if shown:
        print(f"Pixel cache: {cache} ({size / 2**20:.0f} MiB)", flush=True)
    decoded = {}
    with progress_bar("Read photos", photos, shown=shown) as bar:

        def on_progress(count: int) -> None:
            bar.update(count)
            stop.check()

        for name, split in splits.items():
            decoded[name] = decode_split(
                split, preprocessing, workers=workers, on_progress=on_progress,
                cache=cache,  # type: ignore[arg-type]  # checked choices
                broken_photos=settings.broken_photos,  # type: ignore[arg-type]
            )  # fmt: skip
    return decoded


def _share(decoded: dict[str, DecodedSplit] | None, cluster: Cluster) -> dict[str, DecodedSplit]:
    """Return what process 0 of this host decoded; the pixels are mapped, not copied."""
    pickled = {}
    for name, split in (decoded or {}).items():
        location = (split.pixels.location, split.pixels.array.shape) if split.pixels else None
        pickled[name] = dataclasses.replace(split, pixels=None), location
    shared = cluster.from_local_leader(pickled)
    if decoded is None:
        decoded = {}
        for name, (split, location) in shared.items():
            pixels = SharedArray(attach(*location), location[0]) if location else None
            decoded[name] = dataclasses.replace(split, pixels=pixels)
    # Nobody may continue, and perhaps end, before all have mapped the pixels.
    cluster.collect(None)
    return decoded
