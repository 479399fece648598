"""Settings of the server, from its environment."""

from pathlib import Path

import pytest

from dogbreeds.serving.settings import Settings, SettingsError


def test_defaults_are_sagemakers() -> None:
    settings = Settings({})
    assert (settings.host, settings.port) == ("0.0.0.0", 8080)
    assert settings.model_dir == Path("/opt/ml/model")
    assert settings.max_request_bytes == 25 * 2**20
    assert settings.response_timeout == 60
    assert settings.default_accept == "application/json"
    assert settings.workers * settings.threads <= max(settings.cpus, settings.workers)


def test_sagemakers_variables_are_read() -> None:
    settings = Settings(
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


def test_the_timeout_of_awss_image_is_in_seconds_and_ours_comes_first() -> None:
    theirs = {"SAGEMAKER_MODEL_SERVER_TIMEOUT": "300"}
    assert Settings(theirs).response_timeout == 300
    ours = {"SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "5"}
    assert Settings(theirs | ours).response_timeout == 5


def test_batches_are_bounded_in_size_and_delay() -> None:
    settings = Settings({})
    assert (settings.batch_size, settings.batch_delay_ms) == ((16, 2) if settings.gpus else (8, 1))
    chosen = {"DOGBREEDS_BATCH_SIZE": "8", "DOGBREEDS_BATCH_DELAY_MS": "50"}
    settings = Settings(chosen)
    assert (settings.batch_size, settings.batch_delay_ms) == (8, 50)
    with pytest.raises(SettingsError, match="DOGBREEDS_BATCH_SIZE"):
        Settings({"DOGBREEDS_BATCH_SIZE": "0"})


def test_the_model_directory_can_be_named_directly() -> None:
    environment = {"SAGEMAKER_BASE_DIR": "/base", "SM_MODEL_DIR": "/elsewhere"}
    assert Settings(environment).model_dir == Path("/elsewhere")


@pytest.mark.parametrize("value", ["http", "-1", "0", "70000", "1.5", "²"])
def test_an_impossible_number_is_refused_by_name(value: str) -> None:
    with pytest.raises(SettingsError, match="SAGEMAKER_BIND_TO_PORT"):
        Settings({"SAGEMAKER_BIND_TO_PORT": value})


def test_a_payload_of_zero_means_no_limit_of_ours() -> None:
    settings = Settings({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "0"})
    assert settings.max_request_bytes == 2**31 - 1  # what the front end can hold


def test_a_default_answer_type_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(SettingsError, match="application/json, application/jsonlines, text/csv"):
        Settings({"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "image/png"})
