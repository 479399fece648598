"""The page of benchmarks' results, in a real browser."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from helpers.browsing import DESKTOP, PHONE, barriers, brightness, look, opened

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "benchmarks" / "results.html"


@pytest.mark.parametrize(("width", "dark"), [(DESKTOP, False), (PHONE, True)])
def test_bars_are_readable_on_any_screen(
    browser: Browser, tmp_path: Path, width: int, dark: bool
) -> None:
    with opened(browser, PAGE.as_uri(), width=width, dark=dark) as page:
        assert (brightness(look(page, tmp_path / "page.png")) < 60) is dark
        assert barriers(page) == []
        bars = page.locator("#serving tr.own rect").first.bounding_box()
        assert bars is not None
        assert bars["width"] > 20
