"""``dogbreeds convert``: ONNX graphs for a trained model."""

from pathlib import Path

import click

from dogbreeds.cli import base


@base.command()
@click.argument("artifact", type=base.PATH)
@click.argument("out", type=base.PATH)
@base.option("--data", type=base.PATH, metavar="DIR",
             help="The photos of its training, to calibrate and measure int8.")  # fmt: skip
def convert(artifact: Path, out: Path, data: Path | None) -> None:
    """Add ONNX graphs to a model that was trained without them.

    ARTIFACT is a model.tar.gz or the folder of one, OUT the model.tar.gz to write.
    """
    from dogbreeds.local.convert import convert

    graphs = convert(artifact, out, data)
    click.echo(f"Wrote {out} with graphs of {' and '.join(graphs)}")
