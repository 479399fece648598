"""``dogbreeds model ...``: what is done with an artifact itself; needs no AWS."""

import argparse
import sys
from pathlib import Path
from typing import Any


def register(verbs: Any) -> None:  # noqa: ANN401  (argparse's type is private)
    """Add the verb ``model`` with verbs of its own."""
    text = "add ONNX graphs to a trained model"
    model = verbs.add_parser("model", help=text, description=text)
    convert = model.add_subparsers(required=True, metavar="VERB").add_parser("convert", help=text)
    convert.add_argument("artifact", type=Path, help="a model.tar.gz, or its folder")
    convert.add_argument("out", type=Path, metavar="OUT", help="the model.tar.gz to write")
    convert.add_argument("--data", type=Path, metavar="DIR",
                         help="the photos directory of its training, for int8")  # fmt: skip
    convert.set_defaults(run=_convert)


def _convert(_: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from dogbreeds.local.convert import convert
    from dogbreeds.system.errors import DogbreedsError

    try:
        graphs = convert(options.artifact, options.out, options.data)
    except (DogbreedsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Wrote {options.out} with graphs of {' and '.join(graphs)}")
    return 0
