"""``dogbreeds train``, ``tune`` and ``transform``: jobs, on SageMaker or on local Docker."""

import argparse
import contextlib
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from dogbreeds.cli.verbs import MODEL, add, add_job_flags, print_plan
from dogbreeds.cloud.settings import CloudSettings, ConfigError
from dogbreeds.training.settings import SettingsError, parse_pairs


def register(verbs: Any) -> None:  # noqa: ANN401  (argparse's type is private)
    """Add the verbs to the command line."""
    train = add(
        verbs,
        "train",
        _train,
        ("training", "network", "images.flavor,training_uri"),
        "run a training job",
    )
    train.add_argument("--local", type=Path, metavar="PHOTOS",
                       help="on the local Docker engine, with this photos directory")  # fmt: skip
    train.add_argument("--out", type=Path, default=Path("build/local"), metavar="DIR",
                       help="--local: where model.tar.gz goes (default: build/local)")  # fmt: skip
    _add_hyperparameters(train)
    add_job_flags(train)

    sections = ("tuning", "training", "network", "images.flavor,training_uri")
    tune = add(verbs, "tune", _tune, sections, "search for the best hyperparameters")
    tune.epilog = "On this machine, without AWS: dogbreeds tune --local --help"
    tune.add_argument("--warm-start", action="append", default=[], metavar="JOB",
                      help="learn from a finished tuning job")  # fmt: skip
    tune.add_argument("--out", type=Path, default=Path("build/tuning"), metavar="DIR",
                      help="where CSV and plot go (default: build/tuning)")  # fmt: skip
    _add_hyperparameters(tune)
    add_job_flags(tune)

    transform = add(
        verbs,
        "transform",
        _transform,
        ("transform", "network", "images.flavor,serving_uri"),
        "answers for a folder on S3",
    )
    transform.add_argument("model", metavar="MODEL", help=MODEL)
    transform.add_argument("photos", metavar="PHOTOS", help="s3:// folder, photos of one type")
    transform.add_argument("--local", type=Path, metavar="OUT",
                           help="on local Docker, from folder PHOTOS to OUT")  # fmt: skip
    transform.add_argument("--port", type=int, default=8080, help="--local: where to listen")
    transform.add_argument("--content-type", default="image/jpeg", help="default: image/jpeg")
    add_job_flags(transform)


def _add_hyperparameters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="a hyperparameter, e.g. --set epochs=10")  # fmt: skip


def _with_hyperparameters(settings: CloudSettings, options: argparse.Namespace) -> CloudSettings:
    """Add ``--set NAME=VALUE`` to the file's hyperparameters."""
    try:
        given = settings.training.hyperparameters | parse_pairs(options.set)
    except SettingsError as error:
        raise ConfigError(f"--set: {error}") from error
    training = dataclasses.replace(settings.training, hyperparameters=given)
    return dataclasses.replace(settings, training=training)


def _train(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud.aws import Cloud
    from dogbreeds.cloud.jobs import training

    settings = _with_hyperparameters(settings, options)
    if options.local:
        from dogbreeds.cloud.jobs import local_mode as local

        print(f"The model archive is {local.train(settings, options.local, options.out)}")
        return 0
    cloud = Cloud(settings, dry_run=options.dry_run)
    name = training.start(cloud, name=options.name, new=options.new)
    if options.dry_run:
        print_plan(cloud, options)
    elif options.wait:
        # The log is for people: a script's standard output is the document alone.
        with contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout):
            description = training.wait(cloud, name)
        print(_json(description) if options.json else training.report(cloud, description))
    else:
        print(_json({"name": name}) if options.json else name)
    return 0


def _json(document: object) -> str:
    return json.dumps(document, default=str, indent=2)


def _tune(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud.aws import Cloud
    from dogbreeds.cloud.jobs import tuning

    settings = _with_hyperparameters(settings, options)
    cloud = Cloud(settings, dry_run=options.dry_run)
    name = tuning.start(
        cloud,
        name=options.name,
        new=options.new,
        warm_start=options.warm_start,
        fixed=[pair.partition("=")[0] for pair in options.set],
    )
    if options.dry_run:
        print_plan(cloud, options)
    elif options.wait:
        tuning.wait(cloud, name)
        rows = tuning.results(cloud, name)
        print(_json({"name": name, "jobs": rows}) if options.json else tuning.table(rows))
        tuning.write_csv(rows, options.out / f"{name}.csv")
        tuning.plot(rows, settings.tuning.objective, options.out / f"{name}.png")
        print(f"Wrote {options.out / name}.csv and .png", file=sys.stderr)
    else:
        print(_json({"name": name}) if options.json else name)
    return 0


def _transform(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud.aws import Cloud
    from dogbreeds.cloud.jobs import transform

    if options.local:
        from dogbreeds.cloud.jobs import local_mode as local

        local.transform(
            settings,
            Path(options.model),
            Path(options.photos),
            options.local,
            content_type=options.content_type,
            port=options.port,
        )
        print(f"Answers: {options.local}")
        return 0
    cloud = Cloud(settings, dry_run=options.dry_run)
    name = transform.start(
        cloud,
        options.model,
        options.photos,
        content_type=options.content_type,
        name=options.name,
        new=options.new,
    )
    if options.dry_run:
        print_plan(cloud, options)
    elif options.wait:
        answers = transform.wait(cloud, name)
        print(_json({"name": name, "answers": answers}) if options.json else f"Answers: {answers}")
    else:
        print(_json({"name": name}) if options.json else name)
    return 0
