"""``dogbreeds``: one verb a task. Heavy packages are imported by the verbs that need them."""

import argparse
import os
import sys
from pathlib import Path

from dogbreeds.cli import commands, model


def main(arguments: list[str] | None = None) -> int:
    """Run a verb.

    Returns:
        The exit code: 0 on success, 1 on failure, 2 for a wrong command line, 130 after Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["tune"] and "--local" in arguments:  # other flags than on SageMaker
        from dogbreeds.local import tuning

        return tuning.main(arguments[1:])
    parser = argparse.ArgumentParser(prog="dogbreeds", description="Train and serve on SageMaker.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    sample = verbs.add_parser("sample", help="draw a small photos directory to try things with")
    sample.add_argument("folder", type=Path, help="the folder to make")
    sample.set_defaults(run=_sample)

    demo = verbs.add_parser("demo", help="train, serve and ask on this machine")
    demo.add_argument(
        "--work-dir",
        type=Path,
        default=Path("build/demo"),
        metavar="DIR",
        help="made anew; everything is written here (default: build/demo)",
    )
    demo.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="photos in train|valid|test/NNN.Breed/ (default: drawn)",
    )
    demo.add_argument("--weights", metavar="FILE", help="starting weights: a file, or none")
    demo.add_argument("--port", type=int, help="where to serve (default: any free port)")
    demo.add_argument("--keep-serving", action="store_true", help="serve until Ctrl-C")
    demo.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a hyperparameter, e.g. --set epochs=1",
    )
    demo.set_defaults(run=_demo)

    model.register(verbs)
    commands.register(verbs)

    options = parser.parse_args(arguments)
    try:
        return int(options.run(parser, options))
    except BrokenPipeError:  # e.g. `dogbreeds config | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit complains
        return 1


def _sample(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from dogbreeds.data.sample import draw_sample

    try:
        draw_sample(options.folder)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Wrote {options.folder}")
    return 0


def _demo(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from dogbreeds.training.settings import SettingsError, parse_pairs

    try:
        hyperparameters = parse_pairs(options.set)
    except SettingsError as error:
        parser.error(f"--set: {error}")
    if options.weights == "none":
        hyperparameters["weights"] = "none"
    from dogbreeds.local import demo

    return demo.main(
        demo.DemoOptions(
            work_dir=options.work_dir,
            photos=options.data,
            weights=Path(options.weights) if options.weights not in (None, "none") else None,
            hyperparameters=hyperparameters,
            port=options.port,
            keep_serving=options.keep_serving,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
