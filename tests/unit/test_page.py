import json
import re
from pathlib import Path

from PIL import Image

from dogbreeds.html.page import escape, page, write_page
from dogbreeds.html.thumbnails import thumbnail

HOSTILE = "</script><script>alert('1')</script> & \"Über\" \udcff"


def data_of(document: str) -> object:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', document)
    assert found
    return json.loads(found[1])


def test_a_page_keeps_hostile_text_as_text(tmp_path: Path) -> None:
    document = page(HOSTILE, f"<p>{escape(HOSTILE)}</p>", data={HOSTILE: [HOSTILE]})
    assert data_of(document) == {HOSTILE: [HOSTILE]}
    assert document.count("<script") == 2  # the data and the page's own
    write_page(tmp_path / "page.html", document)
    assert "&lt;/script&gt;" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_numbers_that_json_does_not_know_become_null() -> None:
    document = page("losses", "", data={"loss": [0.5, float("nan"), float("-inf")]})
    assert data_of(document) == {"loss": [0.5, None, None]}


def test_a_page_allows_nothing_from_elsewhere() -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page("a page", ""))
    assert policy
    assert "default-src &#x27;none&#x27;" in policy[1]
    assert "unsafe" not in policy[1]


def test_a_thumbnail_is_small_and_has_the_photos_shape(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    Image.effect_noise((1200, 800), 90).convert("RGB").save(photo)
    address = thumbnail(photo)
    assert address is not None
    assert address.startswith("data:image/webp;base64,")
    assert len(address) < 30_000  # noise is the worst there is


def test_there_is_no_thumbnail_of_a_broken_or_missing_photo(tmp_path: Path) -> None:
    assert thumbnail(b"no photo") is None
    assert thumbnail(tmp_path / "missing.jpg") is None
