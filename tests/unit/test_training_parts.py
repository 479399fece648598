import math
import random
import re
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dogbreeds.data.pixels import DecodedSplit, SharedArray
from dogbreeds.job_output.metrics import METRIC_DEFINITIONS, METRICS, metrics_line, summary_line
from dogbreeds.model.networks import create_model
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.training import wise_ft
from dogbreeds.training.augmentation import DRAWS, Augmentation, augment
from dogbreeds.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from dogbreeds.training.device import Device, PixelStore
from dogbreeds.training.evaluation import evaluate
from dogbreeds.training.linear_probe import train_linear_probe
from dogbreeds.training.optimizer import parameter_groups, set_learning_rate

PREPROCESSING = Preprocessing(32, 32)
CPU = Device(torch.device("cpu"), None)


def store(targets: list[int]) -> PixelStore:
    """Photos of one colour each, the brighter the higher the class."""
    pixels = torch.tensor(targets, dtype=torch.uint8).view(-1, 1, 1, 1) * 60 + 20
    split = DecodedSplit(
        name="train",
        pixels=SharedArray(pixels.expand(-1, 32, 32, 3).contiguous().numpy(), ""),
        targets=torch.tensor(targets).numpy(),
        paths=tuple(Path(str(i)) for i in range(len(targets))),
        facts=(),
        broken=(),
    )
    return PixelStore(split, PREPROCESSING, CPU)


class Brightness(nn.Module):
    """A classifier by brightness; `fc` is its head."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = images.mean(dim=(1, 2, 3))
        logits: torch.Tensor = self.fc(torch.stack([mean, mean**2], 1))
        return logits


@pytest.mark.parametrize("kind", ["light", "strong"])
def test_augmentation_repeats_by_what_chance_gave_and_varies_otherwise(kind: Augmentation) -> None:
    pixels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    draw = torch.rand(DRAWS, 4)
    first = augment(pixels, 32, draw, kind)
    assert first.shape == (4, 32, 32, 3)
    assert torch.equal(first, augment(pixels, 32, draw, kind))
    assert not torch.equal(first, augment(pixels, 32, torch.rand(DRAWS, 4), kind))
    assert first.min() >= 0
    assert first.max() <= 255


def test_a_photo_is_augmented_alike_alone_and_in_a_batch() -> None:
    pixels = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8)
    draw = torch.rand(DRAWS, 6)
    whole = augment(pixels, 32, draw, "strong")
    parts = [augment(pixels[p], 32, draw[:, p], "strong") for p in torch.split(torch.arange(6), 2)]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_light_augmentation_keeps_what_the_photo_shows() -> None:
    red = torch.zeros(8, 32, 32, 3, dtype=torch.uint8)
    red[..., 0] = 200
    channels = augment(red, 32, torch.rand(DRAWS, 8)).mean(dim=(1, 2))
    assert (channels[:, 0] > 4 * channels[:, 1]).all()


def test_colours_change_by_brightness_contrast_and_saturation() -> None:
    pixels = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    draw = torch.full((DRAWS, 3), 0.5)
    draw[0] = 1.0  # the whole photo, upright
    draw[1] = 0.5
    plain = augment(pixels, 32, draw)
    torch.testing.assert_close(plain, pixels.float(), atol=1e-2, rtol=0)
    draw[5:8] = torch.tensor([[1.0, 0.2, 0.5], [0.5, 0.9, 0.0], [0.0, 0.5, 1.0]])
    expected = []
    for photo, (b, c, s) in zip(pixels.float(), (1 + 0.2 * (2 * draw[5:8] - 1)).T, strict=True):
        grey = photo.mean(-1, keepdim=True)
        saturated = grey + s * (photo - grey)
        mean = saturated.mean()
        expected.append((b * (mean + c * (saturated - mean))).clamp(0, 255))
    torch.testing.assert_close(augment(pixels, 32, draw), torch.stack(expected), atol=1e-2, rtol=0)


def test_strong_augmentation_blots_out_and_turns() -> None:
    white = torch.full((64, 32, 32, 3), 255, dtype=torch.uint8)
    draw = torch.rand(DRAWS, 64)
    draw[5:8] = 0.5  # no change of colour
    grey = (augment(white, 32, draw, "strong") == 127.5).float().mean(dim=(1, 2, 3))
    blotted = grey > 0
    assert torch.equal(blotted, draw[9] < 0.5)
    assert 0.03 < grey[blotted].min() < grey[blotted].max() < 0.3

    stripes = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    stripes[:, ::2] = 255
    draw = torch.full((DRAWS, 1), 0.5)
    draw[9] = 1.0  # nothing blotted out
    assert augment(stripes, 36, draw, "strong").var(dim=2).max() < 1  # rows of one brightness
    draw[8] = 1.0
    assert augment(stripes, 36, draw, "strong").var(dim=2).max() > 100


def test_no_augmentation_shows_what_serving_sees() -> None:
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    assert torch.equal(augment(pixels, 32, torch.rand(DRAWS, 2), "none"), pixels.float())
    assert augment(pixels, 16, torch.rand(DRAWS, 2), "none").shape == (2, 16, 16, 3)


def test_every_photo_is_evaluated_once_also_in_the_last_small_batch() -> None:
    model = Brightness()
    photos = store([0, 1, 2, 3, 0, 1, 2])
    counted: list[int] = []
    result = evaluate(model, photos, CPU, batch_size=3, on_progress=counted.append)
    assert counted == [3, 3, 1]
    pixels, targets = next(photos.batches([torch.arange(7)]))
    logits = model(PREPROCESSING.normalize(pixels))
    assert result.loss == pytest.approx(nn.functional.cross_entropy(logits, targets).item())
    assert result.accuracy == pytest.approx((logits.argmax(1) == targets).float().mean().item())
    assert result.top5 == 1


def test_training_the_head_alone_learns_and_changes_nothing_else() -> None:
    torch.manual_seed(0)
    model = create_model("resnet18", 4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    photos = store([0, 1, 2, 3] * 8)
    start = evaluate(model, photos, CPU, 16).loss
    trained = train_linear_probe(
        model, photos, CPU, epochs=60, batch_size=16, label_smoothing=0.0, seed=0
    )
    assert trained
    assert evaluate(model, photos, CPU, 16).loss < 0.9 * start
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (not name.startswith("fc.")), name


def test_a_convolutional_head_is_left_to_the_epochs() -> None:
    model = create_model("squeezenet1_1", 4)
    assert not train_linear_probe(
        model, store([0, 1]), CPU, epochs=1, batch_size=2, label_smoothing=0.0, seed=0
    )


def test_without_flips_left_stays_left() -> None:
    pixels = torch.zeros(64, 32, 32, 3, dtype=torch.uint8)
    pixels[:, :, :16] = 200  # the left half is bright
    draw = torch.rand(DRAWS, 64)
    for flip in (True, False):
        images = augment(pixels, 32, draw, flip=flip)
        mirrored = images[:, :, 24:].mean((1, 2, 3)) > images[:, :, :8].mean((1, 2, 3))
        assert torch.equal(mirrored, (draw[2] < 0.5) & flip)


def test_learning_rates_fall_from_head_to_stem_and_norms_do_not_decay() -> None:
    model = create_model("resnet18", 3)
    groups = parameter_groups(model, lr=1.0, layer_decay=0.8, weight_decay=0.5)
    rate_of: dict[int, Any] = {
        id(parameter): (group["max_lr"], group["weight_decay"])
        for group in groups
        for parameter in group["params"]  # type: ignore[attr-defined]
    }
    assert len(rate_of) == len(list(model.parameters()))
    named = {name: rate_of[id(parameter)] for name, parameter in model.named_parameters()}
    assert named["fc.weight"] == (1.0, 0.5)
    assert named["fc.bias"] == (1.0, 0.0)
    assert named["layer4.1.conv2.weight"] == (pytest.approx(0.8), 0.5)  # per block
    assert named["layer4.0.conv1.weight"] == (pytest.approx(0.64), 0.5)
    assert named["layer1.0.bn1.weight"][1] == 0.0
    order = ["conv1.weight", "layer1.0.conv1.weight", "layer1.1.conv1.weight",
             "layer4.1.conv2.weight", "fc.weight"]  # fmt: skip
    rates = [named[name][0] for name in order]
    assert rates == sorted(rates)
    assert len(set(rates)) == len(rates)


def test_the_learning_rate_warms_up_and_ends_near_zero() -> None:
    group = {"params": [nn.Parameter(torch.zeros(1))], "max_lr": 2.0}
    optimizer = torch.optim.SGD([group], lr=1.0)
    rates = []
    for step in range(100):
        set_learning_rate(optimizer, step, 100, warmup=0.1)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[:10] == sorted(rates[:10])
    assert rates[10] == max(rates) == pytest.approx(2.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_a_job_without_warm_up_starts_at_the_highest_rate() -> None:
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "max_lr": 1.0}], lr=1.0)
    set_learning_rate(optimizer, 0, 10, warmup=0.0)
    assert optimizer.param_groups[0]["lr"] == 1.0


def test_two_checkpoints_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, step, {"identity": {"lr": 1}, "step": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-000000010.pt",
        "checkpoint-000000015.pt",
    ]
    state = load_checkpoint(tmp_path, {"lr": 1})
    assert state is not None
    assert state["step"] == 15


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    for step in (5, 10):
        save_checkpoint(tmp_path, step, {"identity": {}, "step": step, "w": torch.rand(100)})
    newest = tmp_path / "checkpoint-000000010.pt"
    newest.write_bytes(newest.read_bytes()[:300])
    (tmp_path / ".checkpoint-000000011.pt.x.partial").write_bytes(b"half written")
    state = load_checkpoint(tmp_path, {})
    assert state is not None
    assert state["step"] == 5
    assert not (tmp_path / ".checkpoint-000000011.pt.x.partial").exists()


def test_a_checkpoint_with_a_changed_bit_is_not_resumed_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    randomness = random.Random(0)
    save_checkpoint(tmp_path, 5, {"identity": {}, "weights": torch.rand(1000, 100)})
    (file,) = tmp_path.iterdir()
    data = file.read_bytes()
    for place in (0, 70, len(data) - 1, *(randomness.randrange(len(data)) for _ in range(20))):
        changed = bytearray(data)
        changed[place] ^= 1 << randomness.randrange(8)
        file.write_bytes(changed)
        assert load_checkpoint(tmp_path, {}) is None
        assert "checkpoint-000000005.pt is damaged" in capsys.readouterr().out
    for size in (0, 31, 32, 33):
        file.write_bytes(data[:size])
        assert load_checkpoint(tmp_path, {}) is None


def test_a_checkpoint_of_another_job_is_refused_and_kept(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, {"identity": {"model": "resnet18"}, "step": 5})
    with pytest.raises(CheckpointError, match="model = 'resnet18', this job has 'resnet34'"):
        load_checkpoint(tmp_path, {"model": "resnet34"})
    assert (tmp_path / "checkpoint-000000005.pt").exists()


def test_a_full_disk_is_named_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, {"identity": {}, "step": 5})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:  # files cannot grow above this, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(OSError, match=r"cannot write a checkpoint to .*: File too large"):
            save_checkpoint(tmp_path, 10, {"identity": {}, "weights": torch.rand(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000000005.pt"]


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "missing", {}) is None


def test_every_metric_is_found_by_its_regex_and_only_there() -> None:
    values = {name: (index + 1) / 7 for index, name in enumerate(METRICS)}
    values["train_loss"] = math.nan
    line = metrics_line(3, values)
    for definition in METRIC_DEFINITIONS:
        found = re.findall(definition["Regex"], line)
        expected = values[definition["Name"]]
        assert len(found) == 1
        assert float(found[0]) == pytest.approx(expected, rel=1e-5, nan_ok=True)
        assert not re.findall(definition["Regex"], summary_line(3, 5, values))


def test_metric_definitions_keep_to_sagemakers_limits() -> None:
    assert len(METRIC_DEFINITIONS) <= 40
    assert all(1 <= len(definition["Regex"]) <= 500 for definition in METRIC_DEFINITIONS)


@pytest.mark.parametrize(("flags", "half"), [("avx2 avx512_bf16", True), ("avx2 amx_bf16", True),
                                             ("avx2 avx512f", False), (None, False)])  # fmt: skip
def test_cpus_train_with_16_bits_where_they_multiply_them(
    flags: str | None, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_text(path: Path) -> str:
        if flags is None:
            raise FileNotFoundError(path)
        return f"processor : 0\nflags : fpu {flags}\n"

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Device.best().half == (torch.bfloat16 if half else None)
    assert Device.best(precision="float32").half is None


def test_cpus_evaluate_in_float32_as_they_serve() -> None:
    half = Device(torch.device("cpu"), torch.bfloat16)
    layer, images = nn.Linear(4, 2), torch.rand(3, 4)
    with half.autocast():
        assert layer(images).dtype == torch.bfloat16
    with half.autocast(training=False):
        assert layer(images).dtype == torch.float32


@pytest.mark.parametrize(
    ("gains", "noise", "expected"),
    [
        ({0.25: 0.2, 1.0: -0.3}, 0.1, 0.25),
        ({0.25: 0.01, 1.0: -0.3}, 0.5, 0.0),  # may be chance
        ({0.25: -0.1, 1.0: -0.3}, 0.1, 0.0),
        ({0.75: 0.4, 1.0: 0.8}, 0.1, 1.0),
        ({0.75: 0.80, 1.0: 0.81}, 0.1, 1.0),
    ],
)
def test_the_share_with_the_surest_gain_over_the_probe_is_chosen(
    gains: dict[float, float], noise: float, expected: float
) -> None:
    random = torch.Generator().manual_seed(0)
    probe, spread = torch.rand(600, generator=random), torch.randn(600, generator=random)
    losses = {0.0: probe}
    losses |= {share: probe - gain - noise * spread for share, gain in gains.items()}
    assert wise_ft.choose(losses) == expected


def test_of_two_equal_gains_the_one_that_varies_less_is_surer() -> None:
    probe, spread = torch.rand(600), torch.randn(600)
    wild = probe - 0.1 - (spread - spread.mean())
    assert wise_ft.choose({0.0: probe, 0.5: probe - 0.1, 1.0: wild}) == 0.5


def test_one_validation_photo_is_no_proof() -> None:
    assert wise_ft.choose({0.0: torch.ones(1), 1.0: torch.zeros(1)}) == 0.0
