"""Settings come from file, environment and flags, and a wrong one is named with its place."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from dogbreeds.cloud.settings import CloudSettings, ConfigError, describe
from dogbreeds.cloud.settings_sources import load
from helpers.control_plane import Result

Run = Callable[..., Result]


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text)
    return path


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, '[training]\ninstance_type = "ml.a.b"\nvolume_gb = 1\nmax_run = 61\n')
    environ = {"DOGBREEDS_TRAINING_VOLUME_GB": "2", "DOGBREEDS_TRAINING_MAX_RUN": "62"}
    settings = load(file, environ, {"training.max_run": "63"})
    assert settings.training.instance_type == "ml.a.b"
    assert settings.training.volume_gb == 2
    assert settings.training.max_run == 63
    assert settings.origins == {
        "training.instance_type": f"{file}:2",
        "training.volume_gb": "DOGBREEDS_TRAINING_VOLUME_GB",
        "training.max_run": "--max-run",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[aws]\nregion = 'eu-central-1'\nrole_arn = 'x'\n",
            r"toml:3: unknown setting aws.role_arn: did you mean aws.role",
        ),
        ("\n[trainig]\n", r"toml:2: unknown setting trainig: did you mean training"),
        ("[training]\n# a comment\n\nvolume_gb = 0\n", r"toml:4: training.volume_gb: .* from 1 to"),
        ("[training]\nspot = 'perhaps'\n", "toml:2: training.spot: expected true or false"),
        ("[training]\nspot = 1\n", "toml:2: training.spot: expected true or false, got 1"),
        ("[training]\nvolume_gb = true\n", "toml:2: training.volume_gb: expected a whole number"),
        ("[training]\ninstance_type = 'g5'\n", "toml:2: .* an instance type such as ml"),
        ("[endpoint]\nkind = 'live'\n", "toml:2: .*real-time or serverless or .*, got 'live'"),
        ("[aws]\nrole = 'me'\n", "toml:2: aws.role: expected a role's ARN"),
        ("[network]\nsubnets = [1]\n", "toml:2: network.subnets: expected a list of strings"),
        ("[prices]\n'ml.g5.xlarge' = 'cheap'\n", "toml:1: prices: expected a number from 0"),
        ("project = 'a-very-long-name'\n", "toml:1: project: expected 2 to 11 of a-z"),
        ("aws = 3\n", r"toml:1: expected a section \[aws\], got 3"),
        ("[aws\n", "no valid TOML: .*line 1"),
    ],
)
def test_a_wrong_setting_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(write(tmp_path, text), {})


def test_a_wrong_environment_variable_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="DOGBREEDS_AWS_REGON: did you mean DOGBREEDS_AWS_REGION"):
        load(None, {"DOGBREEDS_AWS_REGON": "x"})


def test_variables_of_other_parts_of_the_project_are_left_alone() -> None:
    assert load(None, {"DOGBREEDS_WEIGHTS_DIR": "/opt"}).origins == {}


def test_lists_and_tables_can_come_from_the_environment() -> None:
    settings = load(
        None, {"DOGBREEDS_NETWORK_SUBNETS": "a, b", "DOGBREEDS_TAGS": "team=dogs,cost=42"}
    )
    assert settings.network.subnets == ("a", "b")
    assert settings.tags == {"team": "dogs", "cost": "42"}


def test_a_named_file_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"cannot read the settings file nowhere\.toml"):
        load(Path("nowhere.toml"), {})


def test_a_missing_setting_is_asked_for_with_all_ways_to_give_it() -> None:
    with pytest.raises(ConfigError, match=r"\[aws\].*DOGBREEDS_AWS_ROLE"):
        CloudSettings().require("aws.role")


def test_config_prints_valid_settings_that_read_back_the_same(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        '[aws]\nprofile = "a \\"b\\""\n[tags]\nteam = "dogs"\n[network]\nsubnets = ["s"]\n'
        '[prices]\n"ml.g5.xlarge" = 1.41\n[training.hyperparameters]\nepochs = 3\n',
    )
    settings = load(file, {})
    text = describe(settings)
    again = load(write(tmp_path, text), {})
    assert tomllib.loads(text)
    assert describe(again).replace(" ", "") != text  # other lines, same values
    for section in ("aws", "training", "network", "tags", "prices"):
        assert getattr(again, section) == getattr(settings, section)


def test_config_shows_where_each_value_comes_from(
    dogbreeds: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOGBREEDS_AWS_PREFIX", "puppies")
    lines = dogbreeds("config", "--bucket", "other-bucket").out.splitlines()
    origins = {line.partition(" = ")[0]: line.rpartition("# ")[2] for line in lines}
    assert origins["region"] == "dogbreeds.toml:3"
    assert origins["prefix"] == "DOGBREEDS_AWS_PREFIX"
    assert origins["bucket"] == "--bucket"
    assert origins["profile"] == "default"


def test_the_example_documents_every_setting_and_is_valid() -> None:
    example = Path(__file__).parents[2] / "dogbreeds.example.toml"
    settings = load(example, {})
    documented = example.read_text()
    for line in describe(CloudSettings()).splitlines():
        name = line.partition(" = ")[0]
        assert f"{name} =" in documented or line.startswith(("[", "#")) or not line, name
    assert settings.aws.region


def test_awss_own_variable_gives_the_region_where_nothing_nearer_does(tmp_path: Path) -> None:
    environ = {"AWS_REGION": "eu-west-1"}
    assert load(None, environ).aws.region == "eu-west-1"
    assert load(None, environ).origins["aws.region"] == "AWS_REGION"
    file = write(tmp_path, '[aws]\nregion = "eu-central-1"\n')
    assert load(file, environ).aws.region == "eu-central-1"


def test_a_variable_that_nothing_reads_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    load(None, {"DOGBREEDS_REGION": "eu-central-1"})
    assert "unknown environment variable DOGBREEDS_REGION: did you mean" in capsys.readouterr().err


def test_the_variables_of_the_server_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    package = Path(__file__).parents[2] / "src" / "dogbreeds"
    text = "".join(path.read_text() for path in package.rglob("*.py")
                   if "cloud" not in path.relative_to(package).parts)  # fmt: skip
    names = set(re.findall(r'"(DOGBREEDS_[A-Z_]+)"', text))
    assert "DOGBREEDS_BATCH_SIZE" in names
    load(None, dict.fromkeys(names, "1"))
    assert capsys.readouterr().err == ""
