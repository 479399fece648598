"""Settings from the environment, and what a container may use of its machine."""

from pathlib import Path

import pytest

from dogbreeds.serving.settings import Settings, SettingsError
from dogbreeds.system import resources


def test_defaults_are_sagemakers() -> None:
    settings = Settings.from_environment({})
    assert settings.port == 8080
    assert settings.model_dir == Path("/opt/ml/model")
    assert settings.max_request_bytes == 25 * 2**20
    assert settings.response_timeout == 60
    assert settings.default_accept == "application/json"
    assert settings.workers * settings.threads <= max(settings.cpus, settings.workers)


def test_sagemakers_variables_are_read() -> None:
    settings = Settings.from_environment(
        {
            "SAGEMAKER_BIND_TO_PORT": "8888",
            "SAGEMAKER_BASE_DIR": "/base",
            "SAGEMAKER_MODEL_SERVER_WORKERS": "3",
            "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "5",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": "100",
            "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv",
            "SAGEMAKER_MODEL_SERVER_VMARGS": "-Xss1m -Dx=y",
        }
    )
    assert settings.port == 8888
    assert settings.model_dir == Path("/base/model")
    assert settings.workers == 3
    assert settings.response_timeout == 5
    assert settings.max_request_bytes == 100 * 2**20
    assert settings.default_accept == "text/csv"
    assert settings.vmargs == ("-Xss1m", "-Dx=y")


def test_batches_are_bounded_in_size_and_delay() -> None:
    settings = Settings.from_environment({})
    assert (settings.batch_size, settings.batch_delay_ms) == ((16, 2) if settings.gpus else (8, 1))
    chosen = {"DOGBREEDS_BATCH_SIZE": "8", "DOGBREEDS_BATCH_DELAY_MS": "50"}
    settings = Settings.from_environment(chosen)
    assert (settings.batch_size, settings.batch_delay_ms) == (8, 50)
    with pytest.raises(SettingsError, match="DOGBREEDS_BATCH_SIZE"):
        Settings.from_environment({"DOGBREEDS_BATCH_SIZE": "0"})


def test_the_model_directory_can_be_named_directly() -> None:
    environment = {"SAGEMAKER_BASE_DIR": "/base", "SM_MODEL_DIR": "/elsewhere"}
    assert Settings.from_environment(environment).model_dir == Path("/elsewhere")


@pytest.mark.parametrize("value", ["http", "-1", "0", "70000", "1.5", "²"])
def test_an_impossible_number_is_refused_by_name(value: str) -> None:
    with pytest.raises(SettingsError, match="SAGEMAKER_BIND_TO_PORT"):
        Settings.from_environment({"SAGEMAKER_BIND_TO_PORT": value})


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
    ],
)
def test_the_cgroup_bounds_the_processors(files: dict[str, str], cpus: int, tmp_path: Path) -> None:
    write(tmp_path, files)
    assert resources.available_cpus(tmp_path) == cpus


@pytest.mark.parametrize(
    "files", [{}, {"cpu.max": "max 100000"}, {"cpu/cpu.cfs_quota_us": "-1"}, {"cpu.max": ""}]
)
def test_without_a_quota_the_processors_are_the_machines(
    files: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path, files)
    assert resources.available_cpus(tmp_path) == resources.available_cpus(tmp_path / "none") >= 1


@pytest.mark.parametrize("file", ["memory.max", "memory/memory.limit_in_bytes"])
def test_the_cgroup_bounds_the_memory(file: str, tmp_path: Path) -> None:
    machine = resources.available_memory(tmp_path)
    write(tmp_path, {file: str(2**28)})
    assert resources.available_memory(tmp_path) == 2**28
    write(tmp_path, {file: "max" if file == "memory.max" else str(2**63 - 4096)})
    assert resources.available_memory(tmp_path) == machine


def test_gpus_are_counted_by_their_devices(tmp_path: Path) -> None:
    assert resources.gpu_count(tmp_path) == 0
    for name in ("nvidia0", "nvidia11", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert resources.gpu_count(tmp_path) == 2


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_a_payload_of_zero_means_no_limit_of_ours() -> None:
    settings = Settings.from_environment({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "0"})
    assert settings.max_request_bytes == 2**31 - 1  # what the front end can hold


def test_a_default_answer_type_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(SettingsError, match="application/json, application/jsonlines, text/csv"):
        Settings.from_environment({"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "image/png"})
