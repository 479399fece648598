"""Find photos that look the same: recompressed, resized, brightened, grayed, slightly cropped.

A photo's hash is the 64 signs of its low frequencies
(http://www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html). Where two hashes
differ in few bits, the correlation of the gray pictures decides, with either slightly cropped.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 32
"""Of the gray picture, in pixels."""
_SIGNS = 8  # lowest frequencies per axis
_NEAR_BITS, _MAX_BITS = 10, 16  # of 64 that may differ
_MIN_CORRELATION, _MIN_IF_FAR = 0.95, 0.97  # of the pictures; where more than `_NEAR_BITS` differ
_WORTH_CROPPING = 0.8  # correlation of uncropped pictures below which no crop helps
_CELLS = 16  # per axis of a picture, to compare
_CROPS = ((0.0, 0.0), (0.025, 0.025), (0.05, 0.05), (0.0, 0.06), (0.06, 0.0))  # shares cut off
_BLOCK = 2048  # hashes per side of a block of comparisons
_CROPPED_AT_ONCE = 256  # pairs per batch

_FREQUENCIES = np.cos(np.pi / SIDE * np.outer(np.arange(_SIGNS), np.arange(SIDE) + 0.5)).astype(
    np.float32
)


class Look(NamedTuple):
    """What a photo looks like."""

    bits: int  # of its 64-bit hash
    picture: bytes  # `SIDE` x `SIDE` pixels of gray, one byte each


def look_of(image: Image.Image) -> Look:
    """Return what an upright RGB photo of any size looks like."""
    small = image.resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=1.0).convert("L")
    strengths = (_FREQUENCIES @ np.asarray(small, dtype=np.float32) @ _FREQUENCIES.T).ravel()
    signs = strengths > np.sort(strengths[1:])[31]  # their median; the first is the brightness
    return Look(int.from_bytes(np.packbits(signs).tobytes()), small.tobytes())


def find_groups(looks: Sequence[Look]) -> list[list[int]]:
    """Return the sorted positions of each group of two or more looks; groups are transitive."""
    parents = list(range(len(looks)))

    def root(position: int) -> int:
        while parents[position] != position:
            parents[position] = parents[parents[position]]
            position = parents[position]
        return position

    for first, second in _near_pairs(looks):
        low, high = sorted((root(first), root(second)))
        parents[high] = low
    groups: dict[int, list[int]] = defaultdict(list)
    for position in range(len(looks)):
        groups[root(position)].append(position)
    return [group for group in groups.values() if len(group) > 1]


def _near_pairs(looks: Sequence[Look]) -> Iterable[tuple[int, int]]:
    if not looks:
        return
    # Merge equal looks: a thousand black photos must not become half a million pairs.
    firsts: dict[Look, int] = {}
    for position, look in enumerate(looks):
        if (first := firsts.setdefault(look, position)) != position:
            yield first, position
    positions = np.fromiter(firsts.values(), dtype=np.int64)
    pictures = np.frombuffer(b"".join(look.picture for look in firsts), dtype=np.uint8)
    pictures = pictures.reshape(-1, SIDE, SIDE)
    bits = np.array([look.bits for look in firsts], dtype=np.uint64)
    for candidates in _candidates(bits):
        for start in range(0, len(candidates[0]), _CROPPED_AT_ONCE):
            a, b, differing = (part[start : start + _CROPPED_AT_ONCE] for part in candidates)
            least = np.where(differing > _NEAR_BITS, _MIN_IF_FAR, _MIN_CORRELATION)
            near = _correlations(pictures[a], pictures[b]) >= least
            yield from zip(positions[a[near]].tolist(), positions[b[near]].tolist(), strict=True)


def _crop_matrix() -> npt.NDArray[np.float32]:
    """Return weights [crops x cells, side] that average a cropped axis into cells."""
    pixels = np.arange(SIDE)
    rows = []
    for before, after in _CROPS:
        edges = np.linspace(before * SIDE, (1 - after) * SIDE, _CELLS + 1)[:, None]
        overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
        cells = np.maximum(overlap, 0)
        rows.append(cells / cells.sum(axis=1, keepdims=True))
    return np.concatenate(rows).astype(np.float32)


_CROP = _crop_matrix()


def _crops(pictures: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Return the crops of N pictures without mean and contrast: [N, crops, cells], float32."""
    number, count = len(pictures), len(matrix) // _CELLS
    cells = matrix @ pictures.astype(np.float32) @ matrix.T
    cells = cells.reshape(number, count, _CELLS, count, _CELLS).transpose(0, 1, 3, 2, 4)
    crops = cells.reshape(number, count**2, _CELLS**2)
    crops = crops - crops.mean(axis=2, keepdims=True)
    return crops / np.maximum(np.linalg.norm(crops, axis=2, keepdims=True), 1e-3)  # type: ignore[no-any-return]


def _correlations(
    left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """Return the correlation of N pairs of pictures, the highest over crops of either."""
    whole = _CROP[:_CELLS]
    best = (_crops(left, whole) * _crops(right, whole)).sum(axis=2)[:, 0]
    rest = np.flatnonzero((best >= _WORTH_CROPPING) & (best < _MIN_IF_FAR))
    a, b = _crops(left[rest], _CROP), _crops(right[rest], _CROP)
    for crops, other in ((a, b[:, :1]), (b, a[:, :1])):
        best[rest] = np.maximum(best[rest], (crops * other).sum(axis=2).max(axis=1, initial=-1))
    return best  # type: ignore[no-any-return]


def _candidates(bits: npt.NDArray[np.uint64]) -> Iterable[tuple[npt.NDArray[Any], ...]]:
    """Yield positions left < right of hashes that differ in few bits, and in how many.

    All pairs are compared, as products of signs: BLAS takes about 10 s for 100,000 photos.
    """
    signs = np.unpackbits(bits.view(np.uint8).reshape(-1, 8), axis=1).astype(np.float32) * 2 - 1
    for top in range(0, len(signs), _BLOCK):
        for start in range(top, len(signs), _BLOCK):
            # The number of equal bits minus that of unequal ones.
            equal = signs[top : top + _BLOCK] @ signs[start : start + _BLOCK].T
            near = np.flatnonzero(equal >= 64 - 2 * _MAX_BITS)  # faster than in 2-D
            left, right = near // equal.shape[1] + top, near % equal.shape[1] + start
            differing = 32 - equal.ravel()[near] / 2
            once = left < right
            yield left[once], right[once], differing[once]
