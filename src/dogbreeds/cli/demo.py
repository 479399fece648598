"""``dogbreeds demo`` and ``sample``: the whole path at once, and photos to try things with."""

from pathlib import Path

import click

from dogbreeds.cli import base, flags


@base.command()
@click.argument("data", type=base.PATH, required=False)
@base.option("-o", "--out", type=base.PATH, default=Path("build/demo"), metavar="DIR",
             help="Everything is written here.")  # fmt: skip
@base.option("--weights", metavar="FILE|none", help="Starting weights.", show_default="ImageNet's")
@base.option("--port", type=int, metavar="N", help="Where to serve.", show_default="any free port")
@base.option("--keep-serving", is_flag=True, help="Serve until Ctrl-C.")
@flags.set_option
def demo(
    data: Path | None, out: Path, weights: str | None, port: int | None, keep_serving: bool,
    hyperparameters: dict[str, str],
) -> None:  # fmt: skip
    """Train, serve and predict on this machine.

    DATA is a photos directory, train|valid|test/CLASS/*.jpg; without it sample photos are drawn.
    """
    from dogbreeds.local import demo

    demo.run(out, data, weights, hyperparameters, port, keep_serving)


@base.command()
@click.argument("folder", type=base.PATH)
def sample(folder: Path) -> None:
    """Draw a small photos directory to try things with."""
    from dogbreeds.data.sample import draw_sample

    draw_sample(folder)
    click.echo(f"Wrote {folder}")
