"""``dogbreeds demo``, ``sample``, ``serve`` and ``convert``: on this machine, without AWS."""

import contextlib
import json
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dogbreeds.cli import base, flags
from dogbreeds.cloud.settings import CloudSettings

if TYPE_CHECKING:
    from dogbreeds.local.server import RunningServer


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


@base.command()
@click.argument("artifact", type=base.PATH)
@base.option("--port", type=base.PORT, default=8080, metavar="N", help="Where to listen.")
@base.option("--photo", type=base.PATH, metavar="FILE", help="A photo to classify at the start.")
@base.option("--benchmark", type=base.PATH, metavar="PHOTO",
             help="Measure how fast this photo is answered, and end.")  # fmt: skip
def serve(artifact: Path, port: int, photo: Path | None, benchmark: Path | None) -> None:
    """Serve a model on this machine until Ctrl-C, with a page to try it.

    ARTIFACT is a model.tar.gz or the folder of one; neither AWS nor Docker is needed.
    """
    if benchmark:
        from dogbreeds.local.benchmark import benchmark as measure

        click.echo("precision  concurrency  requests/s  p50 ms  p95 ms  memory MB")
        for name, clients, found in measure(artifact, benchmark, port):
            click.echo(f"{name:9}  {clients:11}  {found['per_second']:10.1f}"
                       f"  {found['median_ms']:6.1f}  {found['p95_ms']:6.1f}"
                       f"  {found['pss_mb']:9.0f}")  # fmt: skip
        return
    serve_until_stopped(artifact, port, photo)


def serve_until_stopped(
    artifact: Path, port: int, photo: Path | None, images: CloudSettings | None = None
) -> None:
    """Serve an artifact until Ctrl-C or SIGTERM, here or, by `images`, in a container.

    See `dogbreeds.local.server` for the errors.
    """
    from dogbreeds.local import server

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with serving(artifact, port, images) as running:
        if photo:
            click.echo(json.dumps(server.predict(running.url, photo)))
        server.serve_until_stopped(running, port, [photo] if photo else [])


@contextlib.contextmanager
def serving(
    artifact: Path, port: int, images: CloudSettings | None = None
) -> Iterator["RunningServer"]:
    """Yield a server of an artifact, here or, by the settings `images`, in a container."""
    from dogbreeds.local import server
    from dogbreeds.system.ports import check_port

    if not artifact.exists():
        raise FileNotFoundError(f"expected a model.tar.gz or its folder, found no {artifact}")
    check_port(port, 65535 if images else server.HIGHEST_PORT)
    with tempfile.TemporaryDirectory(prefix="dogbreeds-serve-") as folder:
        log = Path(folder) / "serve.log"
        if images:
            from dogbreeds.local import containers

            context = containers.serving(images, artifact, port, log)
        else:
            context = server.serving(artifact, port, log)
        with context as running:
            yield running


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
