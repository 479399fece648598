from pathlib import Path

import pytest

from dogbreeds.model.architectures import ModelError
from dogbreeds.training.settings import (
    Settings,
    SettingsError,
    check_compiler,
    resolve_weights,
)


def test_hyperparameters_are_read_as_sagemaker_gives_them() -> None:
    given = {"lr": "0.001", "batch-size": "64", "epochs": 3, "optimizer": "sgd", "profiler": "True"}
    settings = Settings.from_mapping(given)
    assert (settings.lr, settings.batch_size, settings.epochs) == (0.001, 64, 3)
    assert (settings.optimizer, settings.profiler) == ("sgd", "true")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"epochs": "5.0"}, Settings(epochs=5)),
        ({"epochs": 7.0, "batch-size": "1e2"}, Settings(epochs=7, batch_size=100)),
        ({"epochs": None, "lr": "null", "model": None}, Settings()),
        ({"lr": " 0.001 ", "optimizer": "SGD ", "compile": "true\n"},
         Settings(lr=0.001, optimizer="sgd", compile=True)),
        ({"model": " ResNet18"}, Settings()),
        ({"model": "MobileNet-V2", "weights": "None"},
         Settings(model="mobilenet_v2", weights="none")),
        ({"weights": "ImageNet", "profile_steps": "None"}, Settings()),
        ({"weights": "Mine.pth"}, Settings(weights="Mine.pth")),
        ({" batch_size": "8"}, Settings(batch_size=8)),
    ],
)  # fmt: skip
def test_what_an_sdk_or_a_person_writes_is_understood(
    given: dict[str, object], expected: Settings
) -> None:
    assert Settings.from_mapping(given) == expected


def test_two_spellings_of_one_name_are_refused_together() -> None:
    with pytest.raises(SettingsError, match="got batch-size and batch_size: remove one"):
        Settings.from_mapping({"batch-size": "8", "batch_size": "16"})


def test_a_network_of_one_size_refuses_another_at_once() -> None:
    assert Settings.from_mapping({"model": "vit_b_16", "image_size": 224})
    with pytest.raises(SettingsError, match="size: expected 224, the only size that vit_b_16"):
        Settings.from_mapping({"model": "vit_b_16", "image_size": 160})


def test_a_misspelt_model_is_refused_with_the_nearest() -> None:
    with pytest.raises(ModelError, match="got model 'resnett18': did you mean resnet18"):
        resolve_weights(Settings(model="resnett18"), None)


def test_what_belongs_to_sagemaker_is_left_out() -> None:
    given = {"_tuning_objective_metric": "test_accuracy", "sagemaker_region": "eu-west-1"}
    assert Settings.from_mapping(given) == Settings()


def test_what_the_toolkit_passes_means_what_it_says() -> None:
    given = {"SM_HPS": '{"optimizer": "adam", "lr": 0.001, "batch-size": 32, "epochs": 5}'}
    assert Settings.from_environment(given) == Settings(optimizer="adam", lr=0.001, batch_size=32)
    assert Settings.from_environment({}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learning", "1", "unknown hyperparameter learning"),
        ("bach_size", "1", "did you mean batch_size"),
        ("lr", "fast", "lr: expected a number from 1e-08 to 10, got 'fast'"),
        ("lr", "nan", "got 'nan'"),
        ("lr", "0", "got '0'"),
        ("epochs", "2.5", "epochs: expected a whole number"),
        ("epochs", -1, "got -1"),
        ("epochs", "true", "expected a whole number"),
        ("batch_size", "0", "from 1 to 4096"),
        ("optimizer", "lion", "expected adam or adamw or sgd, got 'lion'"),
        ("label_smoothing", "1", "from 0 to 0.9"),
        ("image_size", "8", "from 32 to 1024"),
    ],
)
def test_an_impossible_hyperparameter_is_named_in_one_line(
    name: str, value: object, message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping({name: value})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_come_from_the_channel(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").touch()
    assert resolve_weights(Settings(weights="mine.pth"), tmp_path) == tmp_path / "mine.pth"
    assert resolve_weights(Settings(weights="none"), tmp_path) is None
    with pytest.raises(SettingsError, match=r"expected the file other\.pth .* found mine\.pth"):
        resolve_weights(Settings(weights="other.pth"), tmp_path)


def test_flags_come_as_words() -> None:
    assert Settings.from_mapping({"compile": "True"}).compile is True
    assert Settings.from_mapping({"compile": "false"}).compile is False
    with pytest.raises(SettingsError, match="compile: expected true or false, got 'yes'"):
        Settings.from_mapping({"compile": "yes"})


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    check_compiler(Settings())
    with pytest.raises(SettingsError, match=r"compile: expected a C\+\+ compiler"):
        check_compiler(Settings(compile=True))


def test_learning_rate_is_understood_as_lr() -> None:
    assert Settings.from_mapping({"learning_rate": "0.002"}).lr == 0.002
    with pytest.raises(SettingsError, match="expected one spelling, got lr and learning_rate"):
        Settings.from_mapping({"lr": "0.002", "learning_rate": "0.002"})


@pytest.mark.parametrize(
    ("given", "strength"),
    [
        ({}, "none"),
        ({"epochs": "9"}, "none"),
        ({"epochs": "10"}, "light"),
        ({"weights": "none"}, "light"),
        ({"augmentation": "strong"}, "strong"),
        ({"augmentation": "none", "epochs": "20"}, "none"),
    ],
)
def test_short_fine_tuning_has_no_augmentation(given: dict[str, str], strength: str) -> None:
    assert Settings.from_mapping(given).augmentation_strength == strength
