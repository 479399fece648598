"""Flags that several commands share: where to run, the job, hyperparameters, the settings."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from dogbreeds.cli.base import DOCKER, HERE, PATH, SAGEMAKER, only_json, option, output, print_json
from dogbreeds.cloud.settings import DEFAULT_FILE, FIELDS, CloudSettings

if TYPE_CHECKING:
    from dogbreeds.cloud.aws import Cloud

F = TypeVar("F", bound=Callable[..., Any])

_PLACES = {HERE: "this machine", DOCKER: "its Docker engine", SAGEMAKER: "SageMaker"}


def on_option(*places: str) -> Callable[[F], F]:
    """Add the flag that says where a command runs."""
    shown = " or ".join(_PLACES[place] for place in places)
    return option(
        "--on", type=click.Choice(places), default=SAGEMAKER, help=f"Where to run: {shown}."
    )


json_option = option("--json", "as_json", is_flag=True, help="Print one JSON document.")
dry_run_option = option(
    "--dry-run", is_flag=True,
    help="Print what would be done and what it costs (--json: the requests); send nothing, need no"
    " credentials.",
)  # fmt: skip
_JOB_OPTIONS = (
    option("--name", help="The job's name.", show_default="made from what it does"),
    option("--new", is_flag=True, help="Start another job even if the same one is running."),
    option("--wait/--no-wait", default=True, help="Follow it to its end."),
    dry_run_option,
    json_option,
)


@dataclass(frozen=True)
class Job:
    """The flags of a command that starts a job on SageMaker."""

    name: str | None
    new: bool
    wait: bool
    dry_run: bool
    as_json: bool

    def flags(self) -> dict[str, object]:
        """Return the flags that only have an effect on SageMaker, true where they are given."""
        return {"--name": self.name, "--new": self.new, "--no-wait": not self.wait,
                "--dry-run": self.dry_run}  # fmt: skip

    def run(
        self, cloud: "Cloud", start: Callable[[], str], wait: Callable[[str], dict[str, Any]]
    ) -> None:
        """Start a job, print its name, and follow it; print the requests instead in a dry run.

        `start` returns the name, `wait` what ``--json`` prints about the finished job.
        """
        name = start()
        if self.dry_run:
            from dogbreeds.cloud import plan

            return output(self.as_json, cloud.requests, lambda: plan.text(cloud))
        document = {"name": name}
        with only_json(self.as_json):
            click.echo(name)
            if self.wait:
                document |= wait(name)
        if self.as_json:
            print_json(document)


def job_options(function: F) -> F:
    """Add the flags of a command that starts a job on SageMaker, passed as `Job`."""

    @functools.wraps(function)
    def run(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        job = Job(**{f.name: options.pop(f.name) for f in dataclasses.fields(Job)})
        return function(*args, job=job, **options)

    return cast("F", _add_options(run, _JOB_OPTIONS))


def _add_options(function: Any, options: Sequence[Callable[[Any], Any]]) -> Any:  # noqa: ANN401
    return functools.reduce(lambda decorated, add: add(decorated), reversed(options), function)


def _read_pairs(ctx: click.Context, option: click.Parameter, pairs: list[str]) -> dict[str, str]:
    from dogbreeds.training.settings import Settings, SettingsError

    hyperparameters = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise click.BadParameter(f"expected NAME=VALUE, got {wrong[0]!r}", ctx, option)
    try:
        Settings.from_mapping(hyperparameters)
    except SettingsError as error:
        raise click.BadParameter(str(error), ctx, option) from error
    return hyperparameters


set_option = option(
    "--set", "hyperparameters", multiple=True, metavar="NAME=VALUE", callback=_read_pairs,
    help="A hyperparameter, e.g. --set epochs=10.",
)  # fmt: skip


def with_settings(*sections: str, without: Sequence[str] = ()) -> Callable[[F], F]:
    """Pass the settings as first argument, and add a flag per setting of some sections.

    A section is ``"training"`` for all of its settings, or ``"images.flavor,keep"`` for some; every
    command has those of [aws] and outside sections. For those in `without`, and hyperparameters,
    the command has a flag or argument of its own.
    """
    requested = dict(entry.partition(".")[::2] for entry in (*sections, "aws", ""))
    chosen: dict[str, Callable[[Any], Any]] = {}
    for name, field in FIELDS.items():
        section = name.rpartition(".")[0]
        keys = requested.get(section)
        if keys is None or name in (*without, "training.hyperparameters"):
            continue
        if not keys or field.name in keys.split(","):
            chosen[name] = _setting_option(section, field)
    options = (
        option("--config", type=PATH, metavar="FILE", show_default=str(DEFAULT_FILE),
               help="The settings file."),
        option("--setting", multiple=True, metavar="SECTION.KEY=VALUE",
               help="A setting without a flag here, e.g. images.keep=20."),
        *chosen.values(),
    )  # fmt: skip

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def run(config: Path | None, setting: Sequence[str], **options: Any) -> Any:  # noqa: ANN401
            from dogbreeds.cloud.settings_sources import load, read_settings

            given = {name: options.pop(f"setting__{name.replace('.', '__')}") for name in chosen}
            flags = read_settings(setting)
            flags |= {name: value for name, value in given.items() if value is not None}
            return function(load(config, flags=flags), **options)

        return cast("F", _add_options(run, options))

    return decorate


def _setting_option(section: str, field: "dataclasses.Field[Any]") -> Callable[[F], F]:
    low, high, choices = (field.metadata[key] for key in ("low", "high", "choices"))
    facts = [f"{low} to {high}"] if low is not None and high is not None else []
    is_table = field.default is dataclasses.MISSING
    if field.default not in ("", ()) and not is_table and not isinstance(field.default, bool):
        facts.append(f"default: {field.default}")
    flag, kind = f"--{field.name.replace('_', '-')}", {}
    if isinstance(field.default, bool):
        flag += f"/--no-{flag[2:]}"
    else:
        single = "NAME=VALUE,..." if is_table else "N" if low is not None else "VALUE"
        kind = {"metavar": "|".join(choices) or single}
    text = field.metadata["help"]
    text = f"{text[0].upper()}{text[1:]}." + (f"  [{'; '.join(facts)}]" if facts else "")
    heading = f"Settings [{section}]" if section else "Settings"
    name = f"setting__{section}__{field.name}" if section else f"setting__{field.name}"
    return option(flag, name, default=None, help=text, group=heading, **kind)


def refuse_flags(
    settings: CloudSettings, where: str, others: Mapping[str, object], usable: Sequence[str]
) -> None:
    """Raise click.UsageError for given flags without effect for a value `where` of ``--on``.

    These are the flags of settings that are not `usable`, and those `others` that are true.
    """
    given = [origin for name, origin in settings.origins.items()
             if origin.startswith("--") and name not in usable]  # fmt: skip
    given += [flag for flag, is_given in others.items() if is_given]
    if given:
        raise click.UsageError(f"no effect with --on {where}: {', '.join(given)}")
