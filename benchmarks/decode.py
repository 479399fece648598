"""Decoding, one photo at a time: this tree against another one, side by side in turn.

``python benchmarks/decode.py OTHER_SRC > benchmarks/results/decode.csv``, with OTHER_SRC the folder
``src`` of the tree to compare with. For each kind of photo, the quickest of many turns counts, by
the time of the processor, which other programs on the machine disturb little.
"""

import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from environment import write_csv
from PIL import Image, ImageCms

_TURNS = 12
_PROGRAM = """
import json, sys, time
from pathlib import Path
from dogbreeds.model.preprocessing import Preprocessing
read = Preprocessing().read_pixels
for line in sys.stdin:
    data = Path(line.strip()).read_bytes()
    read(data)
    best = 9.0
    for _ in range(15):
        begin = time.process_time()
        read(data)
        best = min(best, time.process_time() - begin)
    print(json.dumps(best * 1e3), flush=True)
"""


def photos(folder: Path) -> dict[str, Path]:
    """Write photos of several kinds and return them by name."""
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x011A] = "maker", "model", 72.0
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    small = Image.fromarray(noise).resize((500, 375))
    large = Image.fromarray(noise).resize((4000, 3000))
    kinds: dict[str, tuple[Image.Image, str, dict[str, object]]] = {
        "JPEG 500 x 375": (small, "JPEG", {"quality": 90}),
        "JPEG 500 x 375, EXIF": (small, "JPEG", {"quality": 90, "exif": exif}),
        "JPEG 500 x 375, sRGB profile": (small, "JPEG", {"quality": 90, "icc_profile": srgb}),
        "JPEG 500 x 375, progressive": (small, "JPEG", {"quality": 90, "progressive": True}),
        "JPEG 4000 x 3000": (large, "JPEG", {"quality": 90}),
        "PNG 500 x 375": (small, "PNG", {}),
        "WebP 500 x 375": (small, "WEBP", {"quality": 90}),
    }
    found = {}
    for number, (name, (image, format_, options)) in enumerate(kinds.items()):
        stream = io.BytesIO()
        image.save(stream, format_, **options)
        found[name] = folder / str(number)
        found[name].write_bytes(stream.getvalue())
    return found


def main(other: str) -> None:
    """Print one CSV line per kind of photo: both times in milliseconds and their ratio."""
    trees = {"this": str(Path(__file__).parents[1] / "src"), "other": other}
    readers = {
        name: subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            env={"PYTHONPATH": f"{path}:{':'.join(sys.path[1:])}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, path in trees.items()
    }
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in photos(Path(folder)).items():
            best = dict.fromkeys(readers, 1e9)
            for _ in range(_TURNS):
                for tree, reader in readers.items():
                    assert reader.stdin and reader.stdout
                    print(path, file=reader.stdin, flush=True)
                    best[tree] = min(best[tree], json.loads(reader.stdout.readline()))
            ratio = best["other"] / best["this"]
            times = {f"{tree}_ms": f"{best[tree]:.2f}" for tree in readers}
            rows.append({"photo": name, **times, "other_over_this": f"{ratio:.3f}"})
    for reader in readers.values():
        reader.communicate()
    write_csv(rows, sys.stdout, device="cpu")


if __name__ == "__main__":
    main(sys.argv[1])
