"""The page of `dogbreeds data check --html`, in a real browser."""

import shutil
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from dogbreeds.cli import main
from helpers.browsing import DESKTOP, PHONE, barriers, brightness, look, opened

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def address(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page about photos with a copy in another split and a blank photo."""
    root = tmp_path_factory.mktemp("check")
    for split in ("train", "test"):
        for folder in sorted((sample / split).iterdir())[:2]:
            target = root / "photos" / split / folder.name
            target.mkdir(parents=True)
            for photo in sorted(folder.iterdir())[:3]:
                shutil.copy(photo, target)
    first = next((root / "photos" / "train").rglob("*.jpg"))
    shutil.copy(first, root / "photos" / "test" / first.parent.name / "copy.jpg")
    Image.new("RGB", (300, 200), "gray").save(first.with_name("blank.jpg"))
    page = root / "check.html"
    assert main.main(["data", "check", str(root / "photos"), "--html", str(page)]) == 1
    return page.as_uri()


@pytest.mark.parametrize(("width", "dark"), [(DESKTOP, False), (PHONE, True)])
def test_findings_are_filtered_by_kind_and_copies_shown_side_by_side(
    browser: Browser, address: str, tmp_path: Path, width: int, dark: bool
) -> None:
    with opened(browser, address, width=width, dark=dark) as page:
        assert (brightness(look(page, tmp_path / "page.png")) < 60) is dark
        assert barriers(page) == []
        sections = page.locator("section[data-kind]:visible")
        kinds = page.get_by_label("Show")
        assert sections.count() == kinds.locator("option").count() - 1 >= 2
        kinds.select_option("blank")
        expect(sections).to_have_count(1)
        expect(sections).to_contain_text("blank.jpg")
        kinds.select_option("all kinds")
        pair = page.locator(".pair", has=page.get_by_alt_text("copy.jpg")).first
        left, right = (image.bounding_box() for image in pair.locator("img").all())
        assert left
        assert right
        assert left["y"] == right["y"]
        assert left["x"] + left["width"] <= right["x"]
