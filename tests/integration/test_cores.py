"""Workers share the processors: one that is alone computes with all of them."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dogbreeds.serving.user_code import cores


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cores.FILE_ENV, str(tmp_path / "cores"))
    return tmp_path / "cores"


def long_ago(file: Path) -> None:
    os.utime(file, (time.time() - 60, time.time() - 60))


def hold(file: Path, started: object, ended: object) -> None:
    share = cores.sharing(2, 2)
    with share():
        started.set()  # type: ignore[attr-defined]
        ended.wait(60)  # type: ignore[attr-defined]


def test_a_worker_that_is_alone_computes_with_all_processors(file: Path) -> None:
    share = cores.sharing(2, 2)
    long_ago(file)
    with share():
        assert torch.get_num_threads() == 2


def test_two_busy_workers_share_them_and_for_a_while_afterwards(file: Path) -> None:
    context = multiprocessing.get_context("fork")
    started, ended = context.Event(), context.Event()
    share = cores.sharing(2, 2)
    other = context.Process(target=hold, args=(file, started, ended))
    other.start()
    assert started.wait(60)
    long_ago(file)
    with share():
        assert torch.get_num_threads() == 1
    ended.set()
    other.join()
    with share():
        assert torch.get_num_threads() == 1
    long_ago(file)
    with share():
        assert torch.get_num_threads() == 2


def test_a_number_of_threads_that_the_script_chose_stays(file: Path) -> None:
    torch.set_num_threads(2)
    share = cores.sharing(2, 2)
    with share():
        assert torch.get_num_threads() == 2
    assert not file.exists()


def test_outside_of_a_server_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cores.FILE_ENV, raising=False)
    with cores.sharing(2, 2)():
        assert torch.get_num_threads() == 1
