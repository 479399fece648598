"""The page of `make serve-demo`, in a real browser over the real model server."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from dogbreeds.local.try_page.server import try_page
from dogbreeds.system.ports import free_port
from helpers.browsing import PHONE, brightness, look, opened
from helpers.serving_process import CLASSES, photo, serving

pytestmark = pytest.mark.integration

NAMES = [named.name.replace("_", " ") for named in CLASSES]


def give(page: Page, content: bytes, name: str = "photo.jpg") -> None:
    """Choose a file as a person does by the button."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a photo").click()
    chooser.value.set_files(FilePayload(name=name, mimeType="image/jpeg", buffer=content))


def expect_answer(page: Page) -> None:
    expect(page.locator("#bars li")).to_have_count(len(CLASSES), timeout=30_000)
    assert page.locator("#prediction").inner_text() in NAMES
    shares = [float(text.strip("%")) for text in page.locator("#bars b").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=0.3)
    assert shares == sorted(shares, reverse=True)
    expect(page.locator("#time")).to_contain_text("ms there and back, of which decode")


class Early(NamedTuple):
    """A page that was asked before there was a server.

    Attributes:
        address: Where the page is.
        page: The page, which has seen the server come.
        words: What it said before.
    """

    address: str
    page: Page
    words: str


@pytest.fixture(scope="module")
def early(browser: Browser, model_dir: Path) -> Iterator[Early]:
    port = free_port(21_000)
    with try_page(f"http://127.0.0.1:{port}", 0) as address, opened(browser, address) as page:
        give(page, photo())
        state = page.locator("#state")
        expect(state).not_to_have_text("Asking the model …")
        words = state.inner_text()
        with serving(model_dir, SAGEMAKER_BIND_TO_PORT=str(port), SAGEMAKER_MAX_PAYLOAD_IN_MB="1"):
            yield Early(address, page, words)


@pytest.fixture
def address(early: Early) -> str:
    return early.address


def test_a_page_whose_server_is_gone_says_so_and_continues_when_it_is_back(early: Early) -> None:
    assert early.words.startswith("The model server does not answer. Is it running?")
    expect_answer(early.page)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (PHONE, True)])
def test_a_photo_gets_its_class_with_bars_and_the_time_taken(
    browser: Browser, address: str, tmp_path: Path, width: int, dark: bool
) -> None:
    with opened(browser, address, width=width, dark=dark) as page:
        give(page, photo())
        expect_answer(page)
        expect(page.locator("#photo")).to_be_visible()
        widths = "[...document.querySelectorAll('.fill')].map(bar => bar.style.width)"
        page.wait_for_function(f"{widths}[0] !== ''")
        shares = page.locator("#bars b").all_inner_texts()
        assert [float(width.strip("%")) for width in page.evaluate(widths)] == [
            float(share.strip("%")) for share in shares
        ]
        assert (brightness(look(page, tmp_path / "page.png")) < 60) is dark


def test_a_broken_photo_is_refused_in_the_servers_words_and_the_next_is_answered(
    browser: Browser, address: str
) -> None:
    with opened(browser, address) as page:
        give(page, photo()[:500])
        expect(page.locator("#state")).to_contain_text("The model refused this (400): ")
        expect(page.locator("#state")).to_contain_text("truncated JPEG photo")
        expect(page.locator("#bars li")).to_have_count(0)
        give(page, photo("PNG"), "photo.png")
        expect_answer(page)


def test_a_huge_file_is_refused_before_it_is_sent(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    huge = tmp_path / "huge.jpg"
    with huge.open("wb") as stream:
        stream.truncate(26 * 2**20)
    with opened(browser, address) as page:
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url))
        page.locator("#file").set_input_files(huge)
        expect(page.locator("#state")).to_have_text(
            "This file is too large: 26.0 MB. The model takes at most 25 MB."
        )
        assert not any("invocations" in url for url in sent)


def test_a_file_beyond_the_servers_own_limit_is_refused_in_its_words(
    browser: Browser, address: str
) -> None:
    with opened(browser, address) as page:
        give(page, bytes(2 * 2**20))
        expect(page.locator("#state")).to_contain_text("The model refused this (413): ")


def test_a_photo_is_dropped_and_taken_with_the_camera(browser: Browser, address: str) -> None:
    drop = """async (bytes) => {
        const files = new DataTransfer();
        files.items.add(new File([new Uint8Array(bytes)], "photo.jpg"));
        dispatchEvent(new DragEvent("drop", { dataTransfer: files, cancelable: true }));
    }"""
    with opened(browser, address) as page:
        page.evaluate(drop, list(photo()))
        expect_answer(page)
        page.get_by_role("button", name="Use the camera").press("Enter")
        expect(page.locator("video")).to_be_visible()
        page.keyboard.press("Enter")  # the focus went to "Take the photo"
        expect(page.locator("video")).to_be_hidden()
        expect_answer(page)
        assert page.evaluate("document.getElementById('photo').naturalWidth") >= 320
