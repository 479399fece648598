"""Photos that look the same: recompressed, resized, recoloured a little, slightly cropped.

A photo's hash is 64 signs of its low frequencies (a perceptual hash by discrete cosine transform,
http://www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html). Photos whose hashes
differ in few bits are candidates; a picture of 8 x 8 pixels decides.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

_SIDE = 32  # of the picture that is transformed
_SIGNS = 8  # lowest frequencies in each direction
_MAX_BITS = 7  # of 64 that may differ
_MAX_DIFFERENCE = 16.0  # mean absolute difference of the pictures, in grey levels of 256
_BANDS, _BAND_BITS = 4, 16
_PAIRS_AT_ONCE = 2**22

_FREQUENCIES = np.cos(np.pi / _SIDE * np.outer(np.arange(_SIGNS), np.arange(_SIDE) + 0.5)).astype(
    np.float32
)


class Look(NamedTuple):
    """What a photo looks like.

    Attributes:
        bits: The 64 bits of its hash.
        picture: 8 x 8 pixels of RGB, 192 bytes.
    """

    bits: int
    picture: bytes


def look_of(image: Image.Image) -> Look:
    """Return what a photo looks like.

    Args:
        image: RGB, upright, of any size.
    """
    small = image.resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=1.0)
    grey = np.asarray(small.convert("L"), dtype=np.float32)
    strengths = (_FREQUENCIES @ grey @ _FREQUENCIES.T).ravel()
    signs = strengths > np.median(strengths[1:])  # the first is the brightness
    bits = int.from_bytes(np.packbits(signs).tobytes())
    return Look(bits, small.reduce(_SIDE // 8).tobytes())


def find_groups(looks: Sequence[Look], same: Iterable[tuple[int, int]] = ()) -> list[list[int]]:
    """Return groups of photos that look the same.

    Args:
        looks: Of N photos.
        same: Pairs of positions that are known to belong together.

    Returns:
        Sorted positions of each group of two or more, sorted. Who looks like someone that looks
        like a third is in one group with it.
    """
    parents = list(range(len(looks)))

    def root(position: int) -> int:
        while parents[position] != position:
            parents[position] = parents[parents[position]]
            position = parents[position]
        return position

    for first, second in [*same, *_near_pairs(looks)]:
        low, high = sorted((root(first), root(second)))
        parents[high] = low
    groups: dict[int, list[int]] = defaultdict(list)
    for position in range(len(looks)):
        groups[root(position)].append(position)
    return [group for group in groups.values() if len(group) > 1]


def _near_pairs(looks: Sequence[Look]) -> Iterable[tuple[int, int]]:
    if not looks:
        return
    pictures = np.frombuffer(b"".join(look.picture for look in looks), dtype=np.uint8)
    pictures = pictures.reshape(len(looks), -1)
    # Equal looks are one here: a thousand black photos must not become half a million pairs.
    firsts: dict[Look, int] = {}
    for position, look in enumerate(looks):
        first = firsts.setdefault(look, position)
        if first != position:
            yield first, position
    positions = np.fromiter(firsts.values(), dtype=np.int64)
    bits = np.array([looks[p].bits for p in positions], dtype=np.uint64)
    for left, right in _candidates(bits):
        a, b = positions[left], positions[right]
        difference = np.abs(pictures[a].astype(np.int16) - pictures[b]).mean(axis=1)
        near = difference <= _MAX_DIFFERENCE
        yield from zip(a[near].tolist(), b[near].tolist(), strict=True)


def _candidates(
    bits: npt.NDArray[np.uint64],
) -> Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield positions left < right of hashes that differ in at most `_MAX_BITS` bits.

    Of 4 bands of 16 bits at least one differs in at most one bit then: hashes are looked up by
    each band, and by each band with one bit turned.
    """
    for band in range(_BANDS):
        keys = (bits >> np.uint64(band * _BAND_BITS)) & np.uint64(2**_BAND_BITS - 1)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        for turned in (0, *(1 << bit for bit in range(_BAND_BITS))):
            wanted = keys ^ np.uint64(turned)
            begin = np.searchsorted(ordered, wanted, "left")
            count = np.searchsorted(ordered, wanted, "right") - begin
            for part in _parts(count):
                left = np.repeat(np.arange(len(keys))[part], count[part])
                steps = np.arange(len(left)) - np.repeat(
                    np.cumsum(count[part]) - count[part], count[part]
                )
                right = order[np.repeat(begin[part], count[part]) + steps]
                near = (left < right) & (np.bitwise_count(bits[left] ^ bits[right]) <= _MAX_BITS)
                if near.any():
                    yield left[near], right[near]


def _parts(count: npt.NDArray[np.int64]) -> Iterable[slice]:
    """Cut positions into slices whose counts sum to a bounded number of pairs."""
    ends = np.cumsum(count)
    start = 0
    while start < len(count):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, "right")))
        yield slice(start, stop)
        start = stop
