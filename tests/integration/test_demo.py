"""`make demo` and `make serve-demo`, as a person runs them."""

import json
import os
import re
import shlex
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from dogbreeds.model import artifact
from dogbreeds.system.ports import free_port
from helpers.serving_process import photo, save_tiny_archive

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


class Demo:
    """A running demo, whose output goes to a file."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C can be sent as a terminal does
            )

    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.output():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def press_ctrl_c(self) -> int:
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(40)

    def end(self) -> None:
        """Kill what a failed test left."""
        if self.process.poll() is None:
            for process in self.descendants():
                process.kill()
            self.process.kill()
            self.process.wait()


def run_demo(command: list[str], log: Path, seconds: float) -> str:
    demo = Demo(command, log)
    try:
        assert demo.process.wait(seconds) == 0, demo.output()
    finally:
        demo.end()
    return demo.output()


def left_running(work_dir: Path) -> list[str]:
    """Processes that were started for a demo in this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        folders = (environment.get("SAGEMAKER_BASE_DIR", ""), environment.get("SM_MODEL_DIR", ""))
        if any(folder.startswith(str(work_dir)) for folder in folders):
            found.append(" ".join(process.cmdline()))
    return found


def test_make_demo_trains_serves_answers_and_cleans_up(tmp_path: Path) -> None:
    output = run_demo(["make", "demo"], tmp_path / "log", seconds=280)
    epochs = re.findall(r"^ +\d  +\d+\.\d{4} .*%  +\d+\.\d$", output, re.MULTILINE)
    assert len(epochs) == 8
    accuracy = re.search(r"Done in \d+ s: test accuracy (\S+)%", output)
    assert accuracy is not None
    assert float(accuracy[1]) >= 90
    asked = re.findall(r"\(is (\d+) (\w+)\)\n  (\{.*\})", output)
    assert len(asked) == 3
    answers = [json.loads(answer) for _, _, answer in asked]
    right = [
        (answer["predicted_label"], answer["class_name"]) == (label, name)
        for answer, (label, name, _) in zip(answers, asked, strict=True)
    ]
    assert sum(right) >= 2
    assert all(len(answer["top_k"]) == 5 for answer in answers)
    assert "Training Env" not in output  # that is in the log
    assert "Training Env" in (ROOT / "build/demo/train.log").read_text()
    assert "Next:" in output
    assert artifact.load(ROOT / "build/demo/model.tar.gz").classes
    assert left_running(ROOT / "build/demo") == []


def test_serve_demo_prints_a_curl_line_and_a_page_that_work_until_ctrl_c(tmp_path: Path) -> None:
    work_dir = tmp_path / "work"
    # What `make serve-demo` runs, with fewer epochs and in a folder of its own.
    command = [".venv/bin/dogbreeds", "demo", "--out", str(work_dir), "--keep-serving"]
    demo = Demo([*command, "--set", "epochs=1"], tmp_path / "log")
    try:
        demo.wait_for("until Ctrl-C", 180)
        curl = re.search(r"^  (curl .*)$", demo.output(), re.MULTILINE)
        assert curl is not None
        answer = subprocess.run(
            shlex.split(curl[1]), cwd=ROOT, capture_output=True, check=True, timeout=60
        )
        assert json.loads(answer.stdout)["predicted_label"] in {f"{i:03d}" for i in range(1, 7)}
        page = re.search(
            r"^or open (http://127\.0\.0\.1:\d+/) in a browser", demo.output(), re.MULTILINE
        )
        assert page is not None
        with urllib.request.urlopen(page[1], timeout=10) as response:
            assert b"Which class is it?" in response.read()
        started = demo.descendants()
        assert len(started) >= 2  # serve and its Java front end at least
        assert demo.press_ctrl_c() == 0
        assert not any(process.is_running() for process in started)
    finally:
        demo.end()
    assert left_running(work_dir) == []


def test_serve_answers_without_a_training_until_ctrl_c(tmp_path: Path) -> None:
    model = save_tiny_archive(tmp_path / "model")
    artifact.pack(model, tmp_path / "model.tar.gz")
    image = tmp_path / "a photo.jpg"
    image.write_bytes(photo())
    command = [
        ".venv/bin/dogbreeds",
        "serve",
        str(tmp_path / "model.tar.gz"),
        "--photo",
        str(image),
    ]
    port = free_port(18200)
    demo = Demo([*command, f"--port={port}"], tmp_path / "log")
    try:
        demo.wait_for("until Ctrl-C", 120)
        listening = {c.laddr for c in psutil.net_connections("tcp") if c.status == "LISTEN"}
        hosts = [address[0] for address in listening if address and address[1] == port]
        assert [host.removeprefix("::ffff:") for host in hosts] == ["127.0.0.1"]
        assert json.loads(demo.output().splitlines()[0])["predicted_label"]
        curl = re.search(r"^  (curl .*)$", demo.output(), re.MULTILINE)
        assert curl is not None
        answer = subprocess.run(shlex.split(curl[1]), capture_output=True, check=True, timeout=60)
        assert json.loads(answer.stdout) == json.loads(demo.output().splitlines()[0])
        assert demo.press_ctrl_c() == 0
    finally:
        demo.end()


def test_ctrl_c_during_the_training_leaves_nothing_running(tmp_path: Path) -> None:
    work_dir = tmp_path / "work"
    command = [".venv/bin/dogbreeds", "demo", "--out", str(work_dir)]
    demo = Demo([*command, "--set", "epochs=500"], tmp_path / "log")
    try:
        demo.wait_for("train loss", 120)
        started = demo.descendants()
        assert demo.press_ctrl_c() == 130
        assert not any(process.is_running() for process in started)
    finally:
        demo.end()
    assert "nothing is left running" in demo.output()
    assert left_running(work_dir) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nowhere"], "expected a folder of photos, found none at /nowhere"),
        (["--weights", "/nowhere.pth"], "expected a weights file, found none at /nowhere.pth"),
        (["--set", "epochs=many"], "hyperparameter epochs: expected a whole number"),
        (["--port", "1"], "port 1 cannot be used"),
    ],
)
def test_a_wrong_option_ends_the_demo_with_one_clear_line(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    if arguments[0] == "--port" and os.getuid() == 0:
        arguments = ["--port", "99999"]
        message = "expected a port from 1 to 32767"
    command = [".venv/bin/dogbreeds", "demo", "--out", str(tmp_path / "work"), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == (2 if arguments[0] == "--set" else 1)
    assert message in done.stderr.strip().splitlines()[-1]
