"""What commands share: grouped help, flags generated from the settings, one-line errors, JSON."""

import contextlib
import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dogbreeds.cloud.settings import CloudSettings, ConfigError
from dogbreeds.system.errors import DogbreedsError
from dogbreeds.system.terminal import printable

if TYPE_CHECKING:
    from dogbreeds.cloud.aws import Cloud

F = TypeVar("F", bound=Callable[..., Any])

HERE, DOCKER, SAGEMAKER = "local", "docker", "sagemaker"
"""Where a command runs: this machine's Python, its Docker engine, or Amazon SageMaker."""

MODEL = "MODEL is s3://.../model.tar.gz, a training or tuning job, or a model package's ARN."
logger = logging.getLogger(__name__)


def _set_verbosity(ctx: click.Context, option: click.Parameter, count: int) -> None:
    if count:
        logging.basicConfig(level=logging.DEBUG if count > 1 else logging.INFO)


verbose = click.option(
    "-v", "--verbose", count=True, expose_value=False, callback=_set_verbosity,
    help="Show log messages and tracebacks; -vv: those of libraries, too.",
)  # fmt: skip


class Option(click.Option):
    """An option that the help lists under the heading `group`."""

    def __init__(self, *args: Any, group: str = "Options", **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.group = group


class Command(click.Command):
    """A command with grouped options and one-line errors."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        context = {"max_content_width": 100, "help_option_names": ["-h", "--help"]}
        super().__init__(*args, **{"context_settings": context, **kwargs})
        if not isinstance(self, click.Group):
            verbose(self)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)):
                groups.setdefault(getattr(param, "group", "Options"), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        """Run the command; an error that can be explained becomes a line and an exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            text = "Stopped; nothing is left running."
            if ctx.params.get("on") == SAGEMAKER:
                text = ("No longer waiting; what was started on AWS continues (dogbreeds list)."
                        " The same command follows it again.")  # fmt: skip
            click.echo(f"\n{text}", err=True)
            raise click.exceptions.Exit(130) from None
        except Exception as error:
            if (known := _explained(error)) is None:
                raise
            logger.info("the error in full:", exc_info=error)
            failure = click.ClickException("\n".join(map(printable, known[0].splitlines())))
            failure.exit_code = known[1]  # type: ignore[misc]  # click reads the instance's
            raise failure from error


class Group(Command, click.Group):
    """A group of `Command`."""

    command_class = Command


def _explained(error: Exception) -> tuple[str, int] | None:
    """Return the message and exit code of an error; None if it is a bug of ours."""
    from dogbreeds.training.settings import SettingsError

    if isinstance(error, ConfigError | SettingsError):
        return str(error), 2
    if type(error).__module__.startswith("botocore."):
        from dogbreeds.cloud.aws import explain

        return explain(error), 1
    if isinstance(error, ImportError) and not (error.name or "").startswith("dogbreeds"):
        return (f"the package {error.name} is missing: run make cloud, or install the extra that"
                " has it: dogbreeds[cloud], [training] or [serving]"), 1  # fmt: skip
    is_ours = isinstance(error, DogbreedsError | OSError) and not isinstance(error, BrokenPipeError)
    return (str(error), 1) if is_ours else None


def command(**attributes: Any) -> Callable[[Callable[..., Any]], Command]:  # noqa: ANN401
    """Turn a function into a command; its docstring is the help."""
    return click.command(cls=Command, **attributes)


def option(*names: str, **attributes: Any) -> Callable[[F], F]:  # noqa: ANN401
    """Add an option; the help shows its default if it has one."""
    shown = attributes.pop("show_default", attributes.get("default") not in (None, False, ""))
    if isinstance(shown, str):  # click would put it in parentheses
        attributes["help"] += f"  [default: {shown}]"
        shown = False
    attributes["show_default"] = shown
    return click.option(*names, cls=Option, **attributes)


PATH = click.Path(path_type=Path)
PORT = click.IntRange(1, 65535)


def connect(settings: CloudSettings, *, dry_run: bool = False) -> "Cloud":
    """Return the AWS account; boto3, which takes a second to import, is imported here."""
    from dogbreeds.cloud.aws import Cloud

    return Cloud(settings, dry_run=dry_run)


@contextlib.contextmanager
def only_json(as_json: bool) -> Iterator[None]:
    """Reserve standard output for one JSON document: print everything else on standard error."""
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        yield


def print_json(document: object) -> None:
    """Print a document: dataclasses as objects, times as ISO 8601, other types as text."""

    def convert(value: Any) -> Any:  # noqa: ANN401
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        return value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)

    click.echo(json.dumps(document, indent=2, default=convert))


def output(as_json: bool, document: object, text: Callable[[], str]) -> None:
    """Print a document as JSON, or as text for people."""
    if as_json:
        print_json(document)
    else:
        click.echo(text())
