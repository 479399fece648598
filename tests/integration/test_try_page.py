"""The page of `make serve-demo`, in a real browser over the real model server."""

import csv
import dataclasses
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from dogbreeds.local.try_page.server import WRONG_FILE, try_page
from dogbreeds.model import artifact
from dogbreeds.system.ports import free_port
from helpers.browsing import PHONE, barriers, brightness, look, opened
from helpers.serving_process import CLASSES, photo, serving

pytestmark = pytest.mark.integration

NAMES = [named.name.replace("_", " ") for named in CLASSES]


def give(page: Page, content: bytes, name: str = "photo.jpg") -> None:
    """Choose a file as a person does by the button."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose photos").click()
    chooser.value.set_files(FilePayload(name=name, mimeType="image/jpeg", buffer=content))


def expect_answer(page: Page, seconds: float = 30) -> None:
    expect(page.locator("#bars li")).to_have_count(len(CLASSES), timeout=1000 * seconds)
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
        server: Where the model server is.
        model: The artifact that the page tells about.
    """

    address: str
    page: Page
    words: str
    server: str
    model: Path


@pytest.fixture(scope="module")
def early(
    browser: Browser, model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Early]:
    port = free_port(21_000)
    model = tmp_path_factory.mktemp("early") / "model"  # wrong answers are noted beside it
    measured = {"test_accuracy": 0.934}
    artifact.save(dataclasses.replace(artifact.load(model_dir), metrics=measured), model)
    url = f"http://127.0.0.1:{port}"
    (example := model.with_name("test.jpg")).write_bytes(photo())
    with try_page(url, 0, model, [example]) as address, opened(browser, address) as page:
        give(page, photo())
        state = page.locator("#state")
        expect(state).not_to_have_text("Asking the model …")
        words = state.inner_text()
        with serving(model, SAGEMAKER_BIND_TO_PORT=str(port), SAGEMAKER_MAX_PAYLOAD_IN_MB="1"):
            yield Early(address, page, words, url, model)


@pytest.fixture
def address(early: Early) -> str:
    return early.address


def test_a_page_whose_server_is_gone_says_so_and_continues_when_it_is_back(early: Early) -> None:
    assert early.words.startswith("The model server does not answer. Is it running?")
    expect_answer(early.page, seconds=120)  # the server starts meanwhile


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
        assert barriers(page) == []


def test_a_photo_of_the_test_split_is_offered(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        page.get_by_role("button", name="Try test.jpg").click()
        expect_answer(page)
        expect(page.locator("#rows")).to_contain_text("test.jpg")
    for path in ("/examples/1", "/examples/-1", "/examples/../wrong"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address.rstrip("/") + path)


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
        page.wait_for_function("document.getElementById('photo').naturalWidth >= 320")
        expect_answer(page)


def test_several_photos_are_asked_about_and_their_answers_downloaded(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    for number, content in enumerate([photo(), photo()[:500], photo("PNG")]):
        (tmp_path / f'{number}, "a".jpg').write_bytes(content)
    with opened(browser, address, width=PHONE) as page:
        page.locator("#file").set_input_files(sorted(tmp_path.iterdir()))
        rows = page.locator("#rows tr")
        expect(rows).to_have_count(3, timeout=30_000)
        expect(page.locator("#rows .problem")).to_contain_text("truncated JPEG photo")
        look(page, tmp_path / "page.png")
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the table").click()
        with download.value.path().open(newline="") as stream:
            table = list(csv.DictReader(stream))
        assert [row["file"] for row in table] == [f'{number}, "a".jpg' for number in range(3)]
        assert [row["class"].replace("_", " ") in NAMES for row in table] == [True, False, True]
        assert "truncated" in table[1]["problem"]


def test_a_wrong_answer_is_noted_beside_the_artifact(browser: Browser, early: Early) -> None:
    noted = early.model.parent / WRONG_FILE
    noted.unlink(missing_ok=True)
    with opened(browser, early.address) as page:
        for name in ("a,b.jpg", "c.jpg"):
            give(page, photo(), name)
            page.get_by_role("button", name="This is wrong").click(timeout=30_000)
            page.get_by_label(f"Right class of {name}").fill("Lowchen")
            page.keyboard.press("Enter")
            expect(page.locator("#rows tr").first).to_contain_text(f"No, Lowchen: noted in {noted}")
        version = page.locator("#model").inner_text().split()[1]
    with noted.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["file"], row["right"]) for row in rows] == [
        ("a,b.jpg", "Lowchen"), ("c.jpg", "Lowchen")
    ]  # fmt: skip
    assert {row["model_version"] for row in rows} == {version}
    assert {row["said"] for row in rows} <= {named.label for named in CLASSES}


def test_a_page_of_another_site_cannot_note_anything(early: Early) -> None:
    (early.model.parent / WRONG_FILE).unlink(missing_ok=True)
    request = urllib.request.Request(early.address + "wrong", b"{}", {"Content-Type": "text/plain"})
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(request, timeout=20)
    assert not (early.model.parent / WRONG_FILE).exists()


def test_the_page_tells_version_and_accuracy_of_the_model(browser: Browser, early: Early) -> None:
    version = artifact.load(early.model).version
    with opened(browser, early.address) as page:
        expect(page.locator("#model")).to_have_text(
            f"Model {version} · squeezenet1_1 · 3 classes · right on 93.4% of the test photos"
        )


@pytest.mark.parametrize("language", ["curl", "python"])
def test_the_programs_on_the_page_work_when_pasted(
    browser: Browser, early: Early, tmp_path: Path, language: str
) -> None:
    (tmp_path / "PHOTO.jpg").write_bytes(photo())
    with opened(browser, early.address) as page:
        text = page.locator(f"#{language}").inner_text()
    shell = ["sh", "-c", text] if language == "curl" else [sys.executable, "-c", text]
    answer = subprocess.check_output(shell, cwd=tmp_path, text=True, timeout=60)
    assert any(named.name in answer for named in CLASSES)


def test_the_page_is_for_this_machine_alone(early: Early) -> None:
    port = urlsplit(early.address).port
    assert port
    sockets = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    listening = {c.laddr.ip for c in sockets if c.laddr and c.laddr.port == port}
    assert listening == {"127.0.0.1"}
