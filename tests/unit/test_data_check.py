"""`dogbreeds data check`: what is found of photos, told, moved away and brought back."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from dogbreeds.cli import main as cli
from dogbreeds.data import quarantine
from dogbreeds.data.check import Checked, check
from dogbreeds.data.folders import find_photos, find_roots
from dogbreeds.data.inspection import inspect
from dogbreeds.data.near_duplicates import Look, find_groups, look_of
from dogbreeds.data.pixels import decode_split
from dogbreeds.model.preprocessing import Preprocessing


def photo(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Return shapes that no other seed gives, with some fine grain."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    grain = rng.normal(0, 8, (size[1], size[0], 1))
    return Image.fromarray((np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos each of two classes in two splits, all different."""
    root = tmp_path / "dogs"
    for seed in range(12):
        split, breed = ("train", "test")[seed // 6], f"00{seed // 3 % 2}.Breed"
        file = root / split / breed / f"{seed}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        photo(seed).save(file)
    return root


def look(photos: Path) -> Checked:
    return check(photos, 1)


def found(photos: Path) -> dict[str, list[str]]:
    """Return the names of photos by what is found of them."""
    findings = look(photos).report["findings"]
    return {kind: [entry["photo"] for entry in entries] for kind, entries in findings.items()}


def everything(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_good_photos_are_clean(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "check", str(photos)]) == 0
    told = capsys.readouterr().out
    assert "train: 6 photos of 2 classes" in told
    assert "Nothing to mend" in told


def test_each_oddity_is_named_with_its_reason(photos: Path) -> None:
    folder = photos / "train" / "000.Breed"
    whole = (folder / "0.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[:-300])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no photo")
    photo(20, (40, 30)).save(folder / "tiny.png")
    photo(21).save(folder / "really a png.jpg", format="PNG")
    photo(26).save(folder / "really a webp.webp")
    photo(22).convert("CMYK").save(folder / "cmyk.jpg")
    photo(23).convert("RGBA").save(folder / "alpha.png")
    grey16 = np.asarray(photo(24).convert("L"), dtype=np.uint16) * 257
    Image.fromarray(grey16).save(folder / "sixteen bits.png")
    photo(25).resize((6000, 4500)).save(folder / "huge.jpg", quality=30)
    (folder / "Thumbs.db").touch()
    findings = look(photos).report["findings"]
    details = {
        kind: {Path(e["photo"]).name: e["detail"] for e in es} for kind, es in findings.items()
    }
    assert set(details["broken"]) == {"cut.jpg", "empty.jpg", "text.jpg"}
    assert "truncated" in details["broken"]["cut.jpg"]
    assert "empty file" in details["broken"]["empty.jpg"]
    assert details["tiny"] == {"tiny.png": "40 x 30 pixels"}
    assert details["extension"] == {"really a png.jpg": "PNG in a file .jpg"}
    assert details["color"] == {
        "cmyk.jpg": "CMYK",
        "alpha.png": "RGBA",
        "sixteen bits.png": "I;16",
    }
    assert details["huge"] == {"huge.jpg": "6000 x 4500 pixels"}
    assert set(details["ignored"]) == {"Thumbs.db"}
    assert set(details) == {"broken", "tiny", "extension", "color", "huge", "ignored"}


def _recompressed(image: Image.Image, file: Path) -> None:
    image.save(file, quality=40)


def _half_as_large(image: Image.Image, file: Path) -> None:
    image.resize((80, 64)).save(file)


def _brighter(image: Image.Image, file: Path) -> None:
    ImageEnhance.Brightness(image).enhance(1.08).save(file)


@pytest.mark.parametrize("change", [_recompressed, _half_as_large, _brighter])
def test_a_changed_copy_that_leaks_is_found_and_the_test_keeps_it(
    photos: Path, change: Callable[[Image.Image, Path], None]
) -> None:
    change(photo(7), photos / "train" / "000.Breed" / "copy.jpg")  # 7.jpg is of the test
    assert found(photos) == {"leak": ["train/000.Breed/copy.jpg"]}


def _much_brighter(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.3)


def _darker(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(0.7)


def _cropped(image: Image.Image) -> Image.Image:
    return image.crop((4, 3, 156, 117))  # 5 % of each side


@pytest.mark.parametrize(
    ("change", "least"),
    [(_much_brighter, 58), (_darker, 60), (ImageOps.grayscale, 60), (_cropped, 50)],
)
def test_changed_copies_of_60_photos_are_found_and_nothing_else(
    change: Callable[[Image.Image], Image.Image], least: int
) -> None:
    originals = [photo(seed) for seed in range(60)]
    copies = [change(original).convert("RGB") for original in originals]
    groups = find_groups([look_of(image) for image in (*originals, *copies)])
    assert {tuple(group) for group in groups} <= {(i, i + 60) for i in range(60)}
    assert len(groups) >= least


def test_training_finds_the_copies_and_leaks_that_check_finds(tmp_path: Path) -> None:
    """On photos that training decodes at another size than `check` does."""
    for seed in range(30):
        original = photo(seed, (640, 480))
        for split, image in (
            ("train", original),
            ("test", (_much_brighter, _cropped_large, ImageOps.grayscale)[seed % 3](original)),
        ):
            file = tmp_path / split / f"00{seed % 2}.Breed" / f"{seed}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            (image if seed < 25 else photo(seed + 100 * len(split), (640, 480))).save(file)
    checked = look(tmp_path).report["findings"]
    _, splits = find_photos(find_roots(tmp_path))
    for size in (32, 224, 300):
        decoded = {
            name: decode_split(split, Preprocessing(size, size), workers=1, cache="none")
            for name, split in splits.items()
        }
        report = inspect(decoded, splits, size)
        copies = [group["files"] for group in report["duplicates"]]
        assert sorted(str(tmp_path / entry["photo"]) for entry in checked["leak"]) == sorted(
            file for files in copies for file in files[1:]
        )
        assert (report["leaks"], report["conflicts"]) == (len(checked["leak"]), 0)
    assert 23 <= len(checked["leak"]) <= 25


def _cropped_large(image: Image.Image) -> Image.Image:
    return image.crop((16, 12, 624, 468))


def test_photos_that_show_little_are_named(photos: Path) -> None:
    folder = photos / "train" / "000.Breed"
    Image.new("RGB", (160, 120)).save(folder / "black.png")
    Image.new("RGB", (160, 120), "white").save(folder / "white.png")
    Image.new("RGB", (160, 120), "teal").save(folder / "teal.png")
    ImageEnhance.Brightness(photo(40)).enhance(0.2).save(folder / "dark.png")
    Image.blend(photo(41), Image.new("RGB", (160, 120), "white"), 0.95).save(folder / "bright.png")
    photo(42).filter(ImageFilter.GaussianBlur(3)).save(folder / "blurred.png")
    photo(43, (900, 120)).save(folder / "long.png")
    assert found(photos) == {
        "blank": [f"train/000.Breed/{name}.png" for name in ("black", "teal", "white")],
        "dark": ["train/000.Breed/dark.png"],
        "bright": ["train/000.Breed/bright.png"],
        "blurred": ["train/000.Breed/blurred.png"],
        "shape": ["train/000.Breed/long.png"],
    }


def test_the_text_ends_in_totals_and_the_command_that_mends(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photos / "train" / "000.Breed"
    (folder / "z.jpg").write_bytes((folder / "1.jpg").read_bytes())
    (folder / "text.jpg").write_text("no photo")
    assert cli.main(["data", "check", str(photos)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"To mend: 2 of 14 photos (1 broken, 1 duplicate). dogbreeds data check --fix {photos}"
        " moves them away; --undo moves them back."
    )


def test_of_copies_in_a_class_one_stays_and_of_two_classes_none(photos: Path) -> None:
    train = photos / "train"
    (train / "000.Breed" / "z.jpg").write_bytes((train / "000.Breed" / "1.jpg").read_bytes())
    (train / "001.Breed" / "z.jpg").write_bytes((train / "000.Breed" / "2.jpg").read_bytes())
    assert found(photos) == {
        "duplicate": ["train/000.Breed/z.jpg"],
        "conflict": ["train/000.Breed/2.jpg", "train/001.Breed/z.jpg"],
    }


def test_different_photos_are_no_near_duplicates() -> None:
    assert find_groups([look_of(photo(seed)) for seed in range(400)]) == []


def test_a_thousand_copies_are_one_group() -> None:
    black = look_of(Image.new("RGB", (50, 50)))
    assert find_groups([black] * 1000 + [look_of(photo(1))]) == [list(range(1000))]


def test_near_duplicates_are_found_whichever_bits_differ() -> None:
    rng = np.random.default_rng(0)
    picture = rng.bytes(32 * 32)
    for differing in (16, 17):
        for _ in range(100):
            bits = int(rng.integers(2**63))
            other = bits
            for bit in rng.choice(64, differing, replace=False):
                other ^= 1 << int(bit)
            looks = [Look(value, picture) for value in (bits, other)]
            assert find_groups(looks) == ([[0, 1]] if differing == 16 else [])


def test_the_more_bits_differ_the_more_alike_the_pictures_must_be() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(30, 226, (32, 32)).astype(float)
    noise = np.where(np.arange(32)[:, None] // 2 % 2 == 0, 1, -1) * np.ones(32)  # 2 rows a cell
    spread = values.reshape(16, 2, 16, 2).mean((1, 3)).std()
    noisy = values + noise * spread * 0.3  # correlates by about 0.96
    a, b = (array.round().clip(0, 255).astype(np.uint8).tobytes() for array in (values, noisy))
    for differing, found in ((10, [[0, 1]]), (11, [])):
        assert find_groups([Look(0, a), Look(2**differing - 1, b)]) == found


def test_what_training_would_refuse_is_a_problem(photos: Path) -> None:
    (photos / "train" / "002.Empty").mkdir()
    (photos / "test" / "003.New").mkdir()
    photo(50).save(photos / "test" / "003.New" / "a.jpg")
    problems = look(photos).report["problems"]
    assert any("002.Empty has no photos" in problem for problem in problems)
    assert any(
        "split test has the class folder 003.New, which train has not" in p for p in problems
    )
    assert not look(photos).clean


def test_classes_out_of_balance_are_noted(photos: Path) -> None:
    for seed in range(100, 120):
        photo(seed).save(photos / "train" / "000.Breed" / f"{seed}.jpg")
    checked = look(photos)
    assert checked.report["notes"] == [
        "classes are out of balance in train: 23 photos of 000.Breed, 3 of 001.Breed"
    ]
    assert checked.clean


def test_one_class_is_a_problem_and_no_photos_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one").mkdir()
    assert cli.main(["data", "check", str(tmp_path)]) == 1
    assert "expected photos in" in capsys.readouterr().err
    photo(0).save(tmp_path / "one" / "a.jpg")
    assert cli.main(["data", "check", str(tmp_path)]) == 1
    assert (
        "problem: expected at least 2 class folders in the folder, got only one"
        in capsys.readouterr().out
    )
    assert cli.main(["data", "check", str(tmp_path / "missing")]) == 1
    assert "expected a folder of photos" in capsys.readouterr().err


def test_fix_moves_offenders_away_and_undo_brings_all_back(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photos / "train" / "000.Breed"
    (folder / "text.jpg").write_text("no photo")
    (folder / "copy.jpg").write_bytes((folder / "1.jpg").read_bytes())
    before = everything(photos)
    assert cli.main(["data", "check", "--fix", str(photos)]) == 1
    assert "Moved 2 photos" in capsys.readouterr().out
    assert before.keys() - everything(photos).keys() == {
        "train/000.Breed/text.jpg",
        "train/000.Breed/copy.jpg",
    }
    assert cli.main(["data", "check", str(photos)]) == 0
    assert cli.main(["data", "check", "--undo", str(photos)]) == 0
    assert everything(photos) == before
    assert [path.name for path in photos.parent.iterdir()] == ["dogs"]
    assert cli.main(["data", "check", "--undo", str(photos)]) == 1
    assert "nothing in quarantine" in capsys.readouterr().out


def test_undo_overwrites_nothing(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = photos / "train" / "000.Breed" / "text.jpg"
    place.write_text("first")
    cli.main(["data", "check", "--fix", str(photos)])
    place.write_text("second")  # broken, too, and of the same name
    cli.main(["data", "check", "--fix", str(photos)])
    place.write_text("third")
    assert cli.main(["data", "check", "--undo", str(photos)]) == 1
    assert "stays in quarantine" in capsys.readouterr().err
    kept = everything(quarantine.folder_of(photos))
    kept.pop("log.jsonl")
    assert (place.read_text(), sorted(kept.values())) == ("third", [b"first", b"second"])
    place.unlink()
    assert cli.main(["data", "check", "--undo", str(photos)]) == 1  # there is room for one
    assert place.read_text() == "first"


def test_a_move_that_was_interrupted_is_undone_all_the_same(photos: Path) -> None:
    (name, other) = ("train/000.Breed/0.jpg", "train/000.Breed/1.jpg")
    before = everything(photos)
    away = quarantine.move_away(photos, {name: "broken"})
    with (away / "log.jsonl").open("a") as log:  # killed after the log, before the move
        log.write(json.dumps({"photo": other, "kept": other, "reason": "broken"}) + "\n")
        log.write('{"photo": "train/0')
    assert quarantine.restore(photos) == (1, [])
    assert everything(photos) == before


def test_hostile_names_are_shown_harmlessly(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = os.fsencode(photos / "train" / "000.Breed")
    for name in (
        b"\xff.jpg",
        b"new\nline.jpg",
        b"\x1b[31m.jpg",
        b'"><script>x.jpg',
        "Žofka.jpg".encode(),
    ):
        Path(os.fsdecode(folder + b"/" + name)).write_text("no photo")
    page = tmp_path / "page.html"
    assert cli.main(["data", "check", str(photos), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    arguments = ["--html", str(page), "--fix"]
    assert cli.main(["data", "check", str(photos), *arguments]) == 1
    told = capsys.readouterr().out
    assert r"\udcff.jpg" in told
    assert r"new\nline.jpg" in told
    assert "\x1b" not in told
    assert "Žofka" in told
    assert len(report["findings"]["broken"]) == 5
    assert "<script>x" not in page.read_text()
    assert quarantine.restore(photos) == (5, [])


def test_the_page_shows_photos_without_a_network(photos: Path, tmp_path: Path) -> None:
    (photos / "train" / "000.Breed" / "copy.jpg").write_bytes(
        (photos / "test" / "000.Breed" / "6.jpg").read_bytes()
    )
    page = tmp_path / "page.html"
    assert cli.main(["data", "check", str(photos), "--html", str(page)]) == 1
    text = page.read_text()
    assert text.count("data:image/webp;base64,") == 2
    assert "the same file as test/000.Breed/6.jpg" in text
    assert "http" not in text.split('id="data">')[1].split("</script>")[0]
