"""What is in the images, what is not, and how they are put together."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from dogbreeds import __version__
from helpers.containers import run
from helpers.environments import ROOT

pytestmark = pytest.mark.images

COMPILERS = ("cc", "gcc", "g++", "clang", "make", "javac")


def inside(image: str, script: str) -> str:
    """What a shell script prints in a container of the image."""
    return run("docker", "run", "--rm", "--network=none", image, "sh", "-c", script).stdout


def config(image: str) -> dict[str, Any]:
    answer = run("docker", "image", "inspect", "--format", "{{json .Config}}", image).stdout
    decoded: dict[str, Any] = json.loads(answer)
    return decoded


def test_no_image_has_a_compiler_but_for_a_given_bases(
    training_image: str, serving_image: str
) -> None:
    lookup = f"for name in {' '.join(COMPILERS)}; do command -v $name || true; done"
    given = os.environ.get("BASE_IMAGE")
    allowed = set(inside(given, lookup).split()) if given else set()
    for image in (training_image, serving_image):
        assert set(inside(image, lookup).split()) <= allowed


def test_each_image_has_only_its_own_half_of_the_code(
    training_image: str, serving_image: str
) -> None:
    listing = "ls /opt/dogbreeds/lib/dogbreeds"
    training, serving = inside(training_image, listing), inside(serving_image, listing)
    common = {"__init__.py", "__pycache__", "model", "system"}
    trains = {"data", "entrypoint", "html", "job_output", "monitoring", "report", "training"}
    assert set(training.split()) == common | trains
    assert set(serving.split()) == common | {"serving"}


def test_only_the_serving_image_has_java_and_only_it_has_the_server(
    training_image: str, serving_image: str
) -> None:
    probe = (
        "command -v java >/dev/null && echo java; python -c 'import mms' 2>/dev/null && echo mms"
    )
    assert inside(serving_image, probe).split() == ["java", "mms"]
    assert inside(training_image, f"{probe} || true") == ""


def test_published_scripts_find_what_they_import_without_listing_it(serving_image: str) -> None:
    page = (ROOT / "docs/serving.md").read_text().partition("without listing it: ")[2]
    names = re.split(r",\s+|\s+and\s+", page.partition(".")[0])
    assert len(names) == 8
    modules = [{"Pillow": "PIL"}.get(name, name).replace("-", "_") for name in names]
    inside(serving_image, f"python -c 'import {', '.join(modules)}'")


def test_torch_and_numpy_are_the_bases_own(training_image: str, serving_image: str) -> None:
    where = "; ".join(
        f"import {name} as m; print(m.__version__, m.__file__, end=' ')"
        for name in ("torch", "torchvision", "numpy")
    )
    for image in (training_image, serving_image):
        ours, base = inside(
            image, f'python -c "{where}"; echo; PATH=/usr/local/bin:/usr/bin python3 -c "{where}"'
        ).splitlines()
        assert ours == base
        assert "/opt/dogbreeds" not in ours


def test_the_users_own_pip_cannot_swap_torch(training_image: str) -> None:
    # The version does not exist: what matters is that the base's constraint stands in its way.
    printed = inside(training_image, "python -m pip install --no-index torch==1.0 2>&1 || true")
    assert "constraint" in printed or "conflict" in printed.lower()


def test_images_carry_the_contract_and_their_origin(
    training_image: str, serving_image: str
) -> None:
    for image, command in ((training_image, "train"), (serving_image, "serve")):
        settings = config(image)
        assert settings["Entrypoint"] == ["/opt/dogbreeds/entrypoint.sh"]
        assert settings["Cmd"] == [command]
        assert not settings.get("User")
        labels = settings["Labels"]
        assert labels["org.opencontainers.image.version"] == __version__
        base = os.environ.get("BASE_IMAGE") or "dogbreeds-base:cpu"
        assert labels["org.opencontainers.image.base.name"] == base
        assert re.fullmatch("[0-9a-f]{40}|unknown", labels["org.opencontainers.image.revision"])
    bind = "com.amazonaws.sagemaker.capabilities.accept-bind-to-port"
    assert config(serving_image)["Labels"][bind] == "true"


def test_the_command_is_process_1(serving_image: str) -> None:
    printed = run("docker", "run", "--rm", serving_image, "cat", "/proc/1/cmdline").stdout
    assert printed.rstrip("\0").split("\0") == ["cat", "/proc/1/cmdline"]


def test_weights_with_another_hash_fail_the_build(tmp_path: Path, training_image: str) -> None:
    wrong = tmp_path / "resnet18.pth"
    wrong.write_bytes(b"not the weights")
    tag = "dogbreeds-training:test-wrong-weights"
    built = run(
        "docker/build", "training", "cpu", tag, WEIGHTS_FILE=str(wrong), timeout=300, check=False
    )
    assert built.returncode != 0
    assert "f37072fd" in built.stdout
    assert run("docker", "image", "inspect", tag, check=False).returncode != 0


def test_nothing_runs_with_the_rights_of_another_that_the_base_lacks(
    training_image: str, serving_image: str
) -> None:
    search = "find / -xdev -type f ( -perm -4000 -o -perm -2000 ) 2>/dev/null | sort"
    search = search.replace("(", "\\(").replace(")", "\\)")
    base = os.environ.get("BASE_IMAGE") or "dogbreeds-base:cpu"
    allowed = set(inside(base, search).split())
    assert allowed
    for image in (training_image, serving_image):
        assert set(inside(image, search).split()) <= allowed


def test_no_image_keeps_a_cache_or_the_builders_settings(
    training_image: str, serving_image: str
) -> None:
    search = (
        "ls -d /root/.cache/pip /run/secrets/pip.conf /etc/pip.conf /root/.config/pip"
        " /var/lib/apt/lists/*_Packages* 2>/dev/null || true"
    )
    for image in (training_image, serving_image):
        assert inside(image, search) == ""
        assert not [name for name in config(image)["Env"] if re.match("PIP_INDEX|.*TOKEN", name)]
