"""A small drawn data set, so that everything can be tried without a download.

Six "breeds", far easier to tell apart than dogs, have a coat color and pattern of their own.
"""

import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from dogbreeds.system.files import atomic_folder

_COUNTS = {"train": 40, "valid": 8, "test": 8}  # photos per breed
_SIZE = (160, 120)
_THINGS = 8  # in the background of a photo
_Color = tuple[int, int, int]
# The values are coat, pattern color, pattern.
_BREEDS = {
    "001.Copper_spotter": ((190, 110, 60), (70, 35, 15), "spots"),
    "002.Blue_striper": ((110, 130, 170), (30, 40, 80), "stripes"),
    "003.Snow_plain": ((240, 240, 240), (240, 240, 240), "plain"),
    "004.Golden_halver": ((225, 185, 80), (150, 90, 20), "half"),
    "005.Moss_ringer": ((110, 150, 90), (30, 60, 30), "rings"),
    "006.Night_spotter": ((50, 45, 50), (225, 220, 210), "spots"),
}


def draw_sample(root: Path) -> None:
    """Write the sample, always the same, in the Udacity layout to a new folder.

    FileExistsError if `root` exists already.
    """
    rng = random.Random(0)  # noqa: S311  (pictures, not secrets)
    with atomic_folder(root) as partial:
        for split, count in _COUNTS.items():
            for folder in _BREEDS:
                target = partial / split / folder
                target.mkdir(parents=True)
                name = folder.split(".", 1)[1]
                for number in range(count):
                    _draw(rng, folder).save(target / f"{name}_{number:05d}.jpg", quality=88)


def _draw(rng: random.Random, folder: str) -> Image.Image:
    coat, mark, pattern = _BREEDS[folder]
    width, height = _SIZE
    image = Image.new("RGB", _SIZE, _shade(rng, (120 + rng.randrange(60),) * 3, 30))
    draw = ImageDraw.Draw(image)
    ground = height * rng.uniform(0.6, 0.85)
    draw.rectangle((0, ground, width, height), fill=_shade(rng, (90, 130, 80), 35))
    for _ in range(_THINGS):  # without them, many photos would look like copies
        thing = (width * rng.random(), height * rng.random())
        draw.circle(thing, height * rng.uniform(0.1, 0.25), fill=_shade(rng, (128,) * 3, 90))

    radius = rng.uniform(0.26, 0.4) * height
    x, y = width * rng.uniform(0.35, 0.65), height * rng.uniform(0.45, 0.6)
    fur = _shade(rng, coat, 12)
    head = Image.new("L", _SIZE, 0)
    ImageDraw.Draw(head).circle((x, y), radius, fill=255)
    coat_image = Image.new("RGB", _SIZE, fur)
    _pattern(rng, ImageDraw.Draw(coat_image), pattern, _shade(rng, mark, 12), x, y, radius)
    image.paste(coat_image, mask=head)
    for side in (-1, 1):
        draw.circle((x + side * radius * 0.35, y - radius * 0.15), radius * 0.1, fill="black")
    draw.circle((x, y + radius * 0.3), radius * 0.16, fill="black")
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8)))


def _pattern(rng: random.Random, draw: ImageDraw.ImageDraw, pattern: str, color: _Color,
             x: float, y: float, radius: float) -> None:  # fmt: skip
    if pattern == "spots":
        for _ in range(14):
            spot = (x + rng.uniform(-1, 1) * radius, y + rng.uniform(-1, 1) * radius)
            draw.circle(spot, radius * rng.uniform(0.1, 0.2), fill=color)
    elif pattern == "stripes":
        for step in range(-4, 5):
            left = x + step * radius * 0.3
            draw.line((left, y - radius, left + radius * 0.3, y + radius), fill=color, width=6)
    elif pattern == "rings":
        for share in (0.9, 0.6, 0.3):
            draw.circle((x, y), radius * share, outline=color, width=5)
    elif pattern == "half":
        draw.rectangle((x, y - radius, x + radius, y + radius), fill=color)


def _shade(rng: random.Random, color: _Color, spread: int) -> _Color:
    shift = rng.randint(-spread, spread)
    red, green, blue = (min(255, max(0, value + shift)) for value in color)
    return (red, green, blue)
