"""docker/gpu-check with the real engine, which has no GPU on most machines."""

import pytest

from helpers.containers import run

pytestmark = pytest.mark.images


def test_an_engine_without_gpus_says_so(serving_image: str) -> None:
    done = run("docker/gpu-check", serving_image, "all", check=False)
    if done.returncode == 0:
        pytest.skip("this engine gives containers a GPU")
    assert done.returncode == 2
    assert "gives containers no GPU (--gpus all)" in done.stdout
    assert "GPU=none" in done.stdout


def test_without_gpus_nothing_is_asked(serving_image: str) -> None:
    assert run("docker/gpu-check", serving_image, "none").stdout == ""
