"""`dogbreeds data fetch` against a real server that breaks off, lies, and changes its mind."""

import hashlib
import resource
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dogbreeds.data import download, fetch, udacity
from dogbreeds.data.folders import find_photos
from helpers.fetching import assert_whole, photos_zip, run


@dataclass
class Behaviour:
    """What the server does; each request is noted.

    Attributes:
        body: The file.
        etag: Its ETag; empty: none.
        ranges: Whether it knows of Range; ``"wrong"``: it answers another part.
        break_after: Close the connection after so many bytes of an answer; by request.
        length: Claimed instead of the true Content-Length.
        states: HTTP states to answer first.
        change: Once this file was asked for, it becomes another.
        honours_if_range: Whether it minds If-Range.
    """

    body: bytes
    etag: str = '"one"'
    ranges: bool | str = True
    break_after: list[int] = field(default_factory=list)
    length: int | None = None
    states: list[int] = field(default_factory=list)
    change: tuple[bytes, str] | None = None
    honours_if_range: bool = True
    requests: list[dict[str, str]] = field(default_factory=list)
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's behaviour says."""

    protocol_version = "HTTP/1.1"
    behaviour: Behaviour

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        does = self.behaviour
        does.requests.append(dict(self.headers))
        self.close_connection = True
        if does.states:
            self.send_error(does.states.pop(0))
            return
        body, etag, start = does.body, does.etag, 0
        wanted = self.headers.get("Range", "")
        valid = self.headers.get("If-Range") in (None, etag) or not does.honours_if_range
        if wanted and does.ranges and valid:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if does.ranges == "wrong":
                start += 7
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if etag:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(does.length or len(body) - start))
        self.end_headers()
        end = start + does.break_after.pop(0) if does.break_after else len(body)
        self.wfile.write(body[start:end])
        if does.change:
            (does.body, does.etag), does.change = does.change, None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Behaviour]:
    monkeypatch.setattr(download, "_PAUSES", (0.01,) * 3)
    behaviour = Behaviour(photos_zip())
    handler = type("Bound", (Handler,), {"behaviour": behaviour})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        behaviour.address = f"http://127.0.0.1:{http.server_address[1]}/dogs.zip"
        yield behaviour
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_zip_is_downloaded_unpacked_and_ready_to_train_on(
    server: Behaviour, capsys: pytest.CaptureFixture[str]
) -> None:
    sha256 = hashlib.sha256(server.body).hexdigest()
    assert run(server.address, "--sha256", sha256.upper()) == 0
    assert "2 classes, 4 train, 4 valid, 4 test" in capsys.readouterr().out
    assert_whole()
    classes, splits = find_photos({s: Path("dogImages", s) for s in ("train", "valid", "test")})
    assert (len(classes), len(splits["train"].paths)) == (2, 4)


def test_the_second_time_nothing_is_done(
    server: Behaviour, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(server.address) == 0
    assert run(server.address) == 0
    assert "exists already: 2 classes" in capsys.readouterr().out
    assert len(server.requests) == 1
    assert run(server.address, "--sha256", "0" * 64) == 1  # what is there has another
    assert run("other.zip") == 1
    assert "was fetched from http" in capsys.readouterr().err
    assert_whole()


def test_a_download_that_breaks_off_goes_on_where_it_stopped(server: Behaviour) -> None:
    server.break_after = [10_000, 5_000]
    assert run(server.address) == 0
    assert [request.get("Range") for request in server.requests] == [
        None,
        "bytes=10000-",
        "bytes=15000-",
    ]
    assert server.requests[1]["If-Range"] == '"one"'
    assert_whole()


def test_another_run_goes_on_where_the_last_one_gave_up(
    server: Behaviour, capsys: pytest.CaptureFixture[str]
) -> None:
    server.break_after = [10_000, 0, 0, 0]
    assert run(server.address) == 1
    assert "run the same command later to resume" in capsys.readouterr().err
    assert not Path("dogImages").exists()
    server.requests.clear()
    assert run(server.address) == 0
    assert [request.get("Range") for request in server.requests] == ["bytes=10000-"]
    assert_whole()


def test_a_server_without_ranges_starts_over(server: Behaviour) -> None:
    server.ranges = False
    server.break_after = [10_000, 20_000]
    assert run(server.address) == 0
    assert_whole()


def test_without_a_version_nothing_is_pieced_together(server: Behaviour) -> None:
    server.etag = ""
    server.break_after = [10_000]
    assert run(server.address) == 0
    assert [request.get("Range") for request in server.requests] == [None, None]
    assert_whole()


@pytest.mark.parametrize("honours_if_range", [True, False])
def test_a_file_that_changes_in_between_is_started_over(
    server: Behaviour, honours_if_range: bool
) -> None:
    server.honours_if_range = honours_if_range
    server.break_after = [10_000]
    server.change = (photos_zip(seed=1), '"two"')
    assert run(server.address) == 0
    assert_whole(seed=1)


def test_a_shorter_file_in_between_is_started_over(server: Behaviour) -> None:
    server.honours_if_range = False
    server.break_after = [30_000]
    server.change = (photos_zip(seed=1)[:20_000], '"two"')
    assert run(server.address) == 1  # half a zip, but never a mixture of both
    server.body, server.etag = photos_zip(seed=1), '"three"'
    assert run(server.address) == 0
    assert_whole(seed=1)


def test_another_part_than_asked_for_is_not_used(server: Behaviour) -> None:
    server.ranges = "wrong"
    server.break_after = [10_000]
    assert run(server.address) == 0
    assert_whole()


def test_a_length_too_long_does_no_harm(server: Behaviour) -> None:
    server.length = len(server.body) + 1000
    assert run(server.address) == 0  # the second answer tells the truth
    assert_whole()


def test_a_length_too_short_is_found_out_and_tried_anew(
    server: Behaviour, capsys: pytest.CaptureFixture[str]
) -> None:
    server.length = len(server.body) - 1000
    assert run(server.address) == 1
    assert "expected a zip or tar archive" in capsys.readouterr().err
    assert list(Path().iterdir()) == []
    server.length = None
    assert run(server.address) == 0
    assert_whole()


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(
    server: Behaviour, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(server.address, "--sha256", "0" * 64) == 1
    assert f"expected the SHA-256 {'0' * 64}, got" in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_a_busy_server_is_asked_again_and_a_missing_file_not(
    server: Behaviour, capsys: pytest.CaptureFixture[str]
) -> None:
    server.states = [503, 500]
    assert run(server.address) == 0
    server.states = [404, 404]
    assert run(server.address, "--out", "other") == 1
    assert "HTTP 404" in capsys.readouterr().err
    assert server.states == [404]
    assert not list(Path().glob("*other*"))


def test_a_server_that_is_not_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(download, "_PAUSES", (0.01,))
    assert run("http://127.0.0.1:9/dogs.zip") == 1
    assert "no answer" in capsys.readouterr().err
    assert run("ftp://example.com/dogs.zip") == 2
    assert run("missing.zip") == 1
    assert "there is no" in capsys.readouterr().err


def test_the_known_set_must_be_whole(
    server: Behaviour, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(udacity, "URL", server.address)
    monkeypatch.setenv("DOGBREEDS_DATA_URL", server.address)
    assert run() == 1
    assert "expected 133 breeds with {'train': 6680" in capsys.readouterr().err
    monkeypatch.setattr(udacity, "BREEDS", 2)
    monkeypatch.setattr(udacity, "PHOTOS", {"train": 4, "valid": 4, "test": 4})
    assert run() == 0
    assert_whole()


def test_only_one_command_fetches_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    Path("dogs.zip").write_bytes(photos_zip())
    with fetch._workplace(Path("dogImages")):
        assert run("dogs.zip") == 1
        assert "another command is fetching" in capsys.readouterr().err
    assert run("dogs.zip") == 0
    assert_whole()


def test_a_full_disk_loses_no_download(
    server: Behaviour, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit on the size of files stands in for the disk's end: the kernel refuses the write."""
    server.body = photos_zip(size=30_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        assert run(server.address) == 1
        assert "File too large" in capsys.readouterr().err
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not Path("dogImages").exists()
    server.requests.clear()
    assert run(server.address) == 0
    assert server.requests[0]["Range"] == "bytes=100000-"
    # Known to be too small before anything is written:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 1000))
    assert run(server.address, "--out", "other") == 1
    Path("dogs.zip").write_bytes(server.body)
    assert run("dogs.zip", "--out", "other") == 1
    assert capsys.readouterr().err.count("the disk is too small") == 2
    assert not Path("other").exists()


def test_a_folder_that_is_not_writable_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    Path("dogs.zip").write_bytes(photos_zip())
    assert run("dogs.zip", "--out", "/sys/dogs") == 1  # not for root either
    assert "'/sys/.dogs.fetch'" in capsys.readouterr().err


def test_a_file_where_the_folder_should_be_is_not_touched(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("dogs.zip").write_bytes(photos_zip())
    Path("mine").write_text("mine")
    assert run("dogs.zip", "--out", "mine") == 1
    assert run("dogs.zip", "--out", "mine/dogs") == 1
    assert Path("mine").read_text() == "mine"
    Path("full").mkdir()
    Path("full/mine.txt").touch()
    assert run("dogs.zip", "--out", "full") == 1
    assert capsys.readouterr().err.count("was not fetched by this command") == 2


def test_progress_is_shown(server: Behaviour, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(server.address) == 0
    told = capfd.readouterr().err
    assert "Download: 100%" in told
    assert "Unpack: 100%" in told
