"""``dogbreeds``: each command is imported when it runs, and imports heavy packages itself.

It uses click. typer would need every flag in a function's signature, while most of ours are
generated from the fields of `CloudSettings`; and importing it takes 0.1 s.
"""

import importlib
import itertools
import sys
from typing import Any

import click

from dogbreeds import __version__
from dogbreeds.cli.base import Group, verbose

_COMMANDS = {
    "Here or on SageMaker (--on)": ("train.train", "train.tune", "deploy.deploy",
                                    "predict.transform"),
    "Here, without AWS": ("serve.demo", "serve.serve", "serve.sample", "data.data"),
    "With a trained model": ("predict.predict", "serve.convert", "account.register"),
    "About a job": ("inspect.report", "inspect.profile", "inspect.debug"),
    "The AWS account": ("account.config", "account.push", "account.doctor", "account.list_",
                        "account.delete"),
}  # fmt: skip
"""Modules of this package with their functions, in the order and groups of the help."""


class _Commands(Group):
    """The group of `_COMMANDS`."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        places = itertools.chain.from_iterable(_COMMANDS.values())
        self.places = {place.partition(".")[2].rstrip("_"): place for place in places}
        names: dict[str, Any] = dict.fromkeys(self.places)
        self.commands = names  # click suggests the closest one for a mistyped name

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.places:
            return None
        name, _, function = self.places[cmd_name].partition(".")
        module = importlib.import_module(f"dogbreeds.cli.{name}")
        return getattr(module, function)  # type: ignore[no-any-return]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(self.places)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the headings with their commands."""
        for heading, places in _COMMANDS.items():
            names = [name for name, place in self.places.items() if place in places]
            found = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(heading):
                formatter.write_dl([(name, c.get_short_help_str(80)) for name, c in found if c])


@click.group(
    cls=_Commands,
    epilog="Exit codes: 0 success; 1 failure, or something was found; 2 wrong command line or"
    " setting; 130 Ctrl-C. Completion in bash or zsh: eval"
    ' "$(_DOGBREEDS_COMPLETE=bash_source dogbreeds)", or zsh_source.',
)
@click.version_option(__version__, prog_name="dogbreeds", message="%(prog)s %(version)s")
@verbose
def cli() -> None:
    """Train and serve an image classifier, here or on Amazon SageMaker."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code, as the last line of the help explains."""
    for stream in (sys.stdout, sys.stderr):  # file names may be invalid UTF-8
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return int(cli.main(arguments, prog_name="dogbreeds", standalone_mode=False) or 0)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)  # a wrong command line has one
        hint = f" (see {context.command_path} --help)" if context else ""
        click.echo(f"{click.style('error:', fg='red')} {error.format_message()}{hint}", err=True)
        return error.exit_code
    except click.Abort:  # Ctrl-C or end of input answered a prompt
        return 130


if __name__ == "__main__":
    sys.exit(main())
