"""``dogbreeds completion``: completes commands and flags in a shell."""

import click
from click.shell_completion import get_completion_class

from dogbreeds.cli import base


@base.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    r"""Print what completes commands and flags in a shell.

    \b
    bash, zsh: eval "$(dogbreeds completion bash)"
    fish:      dogbreeds completion fish | source
    """
    script = get_completion_class(shell)
    assert script is not None  # it is one of click's own  # noqa: S101
    cli = click.get_current_context().find_root().command
    click.echo(script(cli, {}, "dogbreeds", "_DOGBREEDS_COMPLETE").source())
