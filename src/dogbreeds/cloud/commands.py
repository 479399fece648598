"""The verbs of ``dogbreeds`` that work on AWS: flags, and what is printed.

Only the settings are imported here; the SDK's seconds are spent by the verbs that need it.
"""

import argparse
import contextlib
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dogbreeds.cloud import data_verbs, watch_verbs
from dogbreeds.cloud.settings import (
    DEFAULT_FILE,
    SECTIONS,
    CloudSettings,
    ConfigError,
    describe,
)
from dogbreeds.cloud.settings_sources import load
from dogbreeds.data import commands as data_commands
from dogbreeds.training.settings import SettingsError, parse_pairs

_Verb = Callable[[CloudSettings, argparse.Namespace], int]


def register(verbs: Any) -> None:  # noqa: ANN401  (argparse's type is private)
    """Add the verbs to the command line."""
    data_verbs.register(data_commands.register(verbs), _add)
    _add(verbs, "config", _config, (), "show the settings and where each comes from")

    push = _add(
        verbs,
        "push",
        _push,
        ("images.training,serving,flavor,keep",),
        "push both images to ECR or another registry",
    )
    push.add_argument("--registry", default="", metavar="HOST[:PORT][/PATH]",
                      help="default: the account's ECR")  # fmt: skip

    train = _add(
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
    _add_job_flags(train)

    sections: tuple[str, ...] = ("tuning", "training", "network", "images.flavor,training_uri")
    tune = _add(verbs, "tune", _tune, sections, "search for the best hyperparameters")
    tune.epilog = "On this machine, without AWS: dogbreeds tune --local --help"
    tune.add_argument("--warm-start", action="append", default=[], metavar="JOB",
                      help="learn from a finished tuning job")  # fmt: skip
    tune.add_argument("--out", type=Path, default=Path("build/tuning"), metavar="DIR",
                      help="where CSV and plot go (default: build/tuning)")  # fmt: skip
    _add_hyperparameters(tune)
    _add_job_flags(tune)

    _register_serving(verbs)

    sections = ("network", "images.flavor,training_uri,serving_uri")
    doctor = _add(verbs, "doctor", _doctor, sections, "find what would fail, before it costs")
    doctor.add_argument("purpose", choices=("train", "deploy", "transform"), metavar="VERB",
                        help="train, deploy or transform")  # fmt: skip
    doctor.add_argument("model", nargs="?", metavar="MODEL", help="an archive to look at, too")

    watch_verbs.register(verbs, _add)

    list_ = _add(verbs, "list", _list, (), "show everything this project made on AWS")
    list_.add_argument("--json", action="store_true", help="one JSON document")

    delete = _add(verbs, "delete", _delete, (), "remove what this project made, stop its jobs")
    delete.add_argument("names", nargs="*", metavar="NAME", help="as dogbreeds list shows them")
    delete.add_argument("--all", action="store_true", help="everything of this project")
    delete.add_argument("--yes", action="store_true", help="do not ask")


def _register_serving(verbs: Any) -> None:  # noqa: ANN401
    source = "s3://.../model.tar.gz, a training or tuning job, or a model package's ARN"
    sections = ("endpoint", "network", "images.flavor,serving_uri")

    deploy = _add(verbs, "deploy", _deploy, sections, "make or update an endpoint")
    deploy.add_argument("model", metavar="MODEL", help=source)
    deploy.add_argument("--challenger", metavar="MODEL@SHARE",
                        help="answers this share of the requests, e.g. my-job@0.1")  # fmt: skip
    deploy.add_argument("--shadow", metavar="MODEL@SHARE",
                        help="gets copies of this share of the requests")  # fmt: skip
    deploy.add_argument("--local", action="store_true",
                        help="on local Docker, until Ctrl-C; MODEL is a file")  # fmt: skip
    deploy.add_argument("--port", type=int, default=8080, help="--local: where to listen")
    deploy.add_argument("--photo", type=Path, help="photo for the test at the end")
    deploy.add_argument("--wait", action=argparse.BooleanOptionalAction, default=True,
                        help="wait, set the scaling and test the endpoint (default)")  # fmt: skip
    _add_dry_run(deploy)

    predict = _add(
        verbs, "predict", _predict, ("endpoint.name,kind",), "ask an endpoint about photos"
    )
    predict.add_argument("photos", nargs="+", type=Path, metavar="PHOTO",
                         help="photos, or folders of photos")  # fmt: skip
    predict.add_argument(
        "--target-model", metavar="NAME", help="an archive of a multi-model endpoint"
    )
    predict.add_argument("--json", action="store_true", help="one JSON document a line")

    sections = ("transform", "network", "images.flavor,serving_uri")
    transform = _add(verbs, "transform", _transform, sections, "answers for a folder on S3")
    transform.add_argument("model", metavar="MODEL", help=source)
    transform.add_argument("photos", metavar="PHOTOS", help="s3:// folder, photos of one type")
    transform.add_argument("--local", type=Path, metavar="OUT",
                           help="on local Docker, from folder PHOTOS to OUT")  # fmt: skip
    transform.add_argument("--port", type=int, default=8080, help="--local: where to listen")
    transform.add_argument("--content-type", default="image/jpeg", help="default: image/jpeg")
    _add_job_flags(transform)

    register = _add(
        verbs, "register", _register_model, ("images.flavor,serving_uri",), "keep a model's version"
    )
    register.add_argument("model", metavar="MODEL", help=source)
    register.add_argument("--approve", action="store_true", help="approve it at once")
    _add_dry_run(register)


def _add(
    verbs: Any,  # noqa: ANN401
    name: str,
    run: _Verb,
    sections: tuple[str, ...],
    text: str,
) -> argparse.ArgumentParser:
    """Add a verb with a flag for each setting of some sections, besides those of [aws].

    Args:
        verbs: Where to.
        name: The verb.
        run: What it does.
        sections: ``"training"`` for all of a section, ``"images.flavor,keep"`` for some.
        text: What it does, in words.
    """
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    parser.add_argument("--config", type=Path, metavar="FILE",
                        help=f"settings (default: {DEFAULT_FILE})")  # fmt: skip
    for entry in ("aws", *sections):
        section, _, keys = entry.partition(".")
        group = parser.add_argument_group(f"[{section}]")
        for field in dataclasses.fields(SECTIONS[section]):
            if field.default is dataclasses.MISSING:  # a table: in the file only
                continue
            if keys and field.name not in keys.split(","):
                continue
            options: dict[str, Any] = {
                "dest": f"{section}.{field.name}",
                "default": argparse.SUPPRESS,
                "help": field.metadata["help"].replace("%", "%%"),
            }
            if isinstance(field.default, bool):
                options["action"] = argparse.BooleanOptionalAction
            else:
                options["metavar"] = "|".join(field.metadata["choices"]) or "VALUE"
            group.add_argument(f"--{field.name.replace('_', '-')}", **options)
    parser.set_defaults(run=lambda _, options: _run(run, options))
    return parser


def _add_hyperparameters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="a hyperparameter, e.g. --set epochs=10")  # fmt: skip


def _add_job_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="the job's name (default: made from what it does)")
    parser.add_argument("--new", action="store_true",
                        help="start another job even if the same one is running")  # fmt: skip
    parser.add_argument("--wait", action=argparse.BooleanOptionalAction, default=True,
                        help="follow the job to its end (default)")  # fmt: skip
    _add_dry_run(parser)


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true",
                        help="print the requests; send nothing, need no credentials")  # fmt: skip


def _run(verb: _Verb, options: argparse.Namespace) -> int:
    """Load the settings, run a verb, and turn its errors into a line and an exit code."""
    flags = {name: value for name, value in vars(options).items() if "." in name}
    try:
        settings = load(options.config, flags=flags)
        if verb is _config:
            return _config(settings, options)
        return _guarded(verb, settings, options)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _guarded(verb: _Verb, settings: CloudSettings, options: argparse.Namespace) -> int:
    try:
        from botocore.exceptions import BotoCoreError, ClientError

        from dogbreeds.cloud.aws import CloudError, explain
    except ImportError as error:
        print(f"error: {error.name} is missing: run make cloud", file=sys.stderr)
        return 1
    try:
        return verb(settings, options)
    except (CloudError, BotoCoreError, ClientError) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if getattr(options, "local", None):
            print("\nStopped; nothing is left running.", file=sys.stderr)
            return 130
        print(
            "\nNot waiting any longer; what was started on AWS goes on (dogbreeds list). The same"
            " command follows it again.",
            file=sys.stderr,
        )
        return 130


def _config(settings: CloudSettings, options: argparse.Namespace) -> int:
    print(describe(settings))
    return 0


def _push(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud import ecr
    from dogbreeds.cloud.aws import Cloud

    for uri in ecr.push(Cloud(settings), options.registry).values():
        print(uri)
    return 0


def _with_hyperparameters(settings: CloudSettings, options: argparse.Namespace) -> CloudSettings:
    """Add ``--set NAME=VALUE`` to the file's hyperparameters."""
    try:
        given = settings.training.hyperparameters | parse_pairs(options.set)
    except SettingsError as error:
        raise ConfigError(f"--set: {error}") from error
    training = dataclasses.replace(settings.training, hyperparameters=given)
    return dataclasses.replace(settings, training=training)


def _print_requests(requests: list[dict[str, Any]]) -> None:
    print(json.dumps(requests, indent=2))


def _train(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud import training
    from dogbreeds.cloud.aws import Cloud

    settings = _with_hyperparameters(settings, options)
    if options.local:
        from dogbreeds.cloud import local

        print(f"The model archive is {local.train(settings, options.local, options.out)}")
        return 0
    cloud = Cloud(settings, dry_run=options.dry_run)
    name = training.start(cloud, name=options.name, new=options.new)
    if options.dry_run:
        _print_requests(cloud.requests)
    elif options.wait:
        print(training.report(cloud, training.wait(cloud, name)))
    return 0


def _tune(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud import tuning
    from dogbreeds.cloud.aws import Cloud

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
        _print_requests(cloud.requests)
    elif options.wait:
        tuning.wait(cloud, name)
        rows = tuning.results(cloud, name)
        print(tuning.table(rows))
        tuning.write_csv(rows, options.out / f"{name}.csv")
        tuning.plot(rows, settings.tuning.objective, options.out / f"{name}.png")
        print(f"Wrote {options.out / name}.csv and .png", file=sys.stderr)
    return 0


def _deploy(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud import endpoints, predict
    from dogbreeds.cloud.aws import Cloud

    if options.local:
        return _serve_locally(settings, options)
    challenger = options.challenger and endpoints.Side.parse(options.challenger, most=0.99)
    shadow = options.shadow and endpoints.Side.parse(options.shadow, most=1)
    cloud = Cloud(settings, dry_run=options.dry_run)
    config = endpoints.deploy(cloud, options.model, challenger=challenger, shadow=shadow)
    if options.dry_run:
        _print_requests(cloud.requests)
        return 0
    if options.wait:
        endpoints.wait(cloud, config)
        endpoints.scale(cloud)
        print(predict.line(predict.smoke_test(cloud, options.model, options.photo)))
    name = endpoints.endpoint_name(settings)
    kind = settings.endpoint.kind
    flags = {"async": " --kind async", "multi-model": " --kind multi-model --target-model NAME"}
    print(f"\n  dogbreeds predict PHOTO --region {cloud.region} --name {name}{flags.get(kind, '')}")
    return 0


def _serve_locally(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud import local

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with local.serving(settings, Path(options.model), options.port) as predictor:
        if options.photo:
            print(f"\n{json.dumps(local.ask(predictor, options.photo))}")
        print(
            f"\nServing until Ctrl-C. Try:\n\n  curl -H 'Content-Type: image/jpeg' --data-binary"
            f" @PHOTO http://127.0.0.1:{options.port}/invocations\n",
            flush=True,
        )
        with contextlib.suppress(KeyboardInterrupt):
            # The system may hand the signal to one of the SDK's threads; Python then raises it
            # here at the next step, which an endless wait would never take.
            while True:
                time.sleep(0.2)
    return 0


def _predict(settings: CloudSettings, options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from dogbreeds.cloud import predict
    from dogbreeds.cloud.aws import Cloud

    photos = predict.find_photos(options.photos)
    refused = 0
    with tqdm(total=len(photos), unit="photo", disable=len(photos) == 1) as bar:
        for prediction in predict.predict(Cloud(settings), photos, options.target_model):
            refused += prediction.answer is None
            bar.update()
            with bar.external_write_mode():
                if options.json:
                    answer = prediction.answer or {"error": prediction.error}
                    print(json.dumps({"photo": str(prediction.photo), **answer}))
                else:
                    print(predict.line(prediction))
    return 1 if refused else 0


def _transform(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud import transform
    from dogbreeds.cloud.aws import Cloud

    if options.local:
        from dogbreeds.cloud import local

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
        _print_requests(cloud.requests)
    elif options.wait:
        print(f"Answers: {transform.wait(cloud, name)}")
    return 0


def _register_model(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud import registry
    from dogbreeds.cloud.aws import Cloud

    cloud = Cloud(settings, dry_run=options.dry_run)
    arn = registry.register(cloud, options.model, approve=options.approve)
    if options.dry_run:
        _print_requests(cloud.requests)
    else:
        print(arn)
    return 0


def _list(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud import inventory
    from dogbreeds.cloud.aws import Cloud

    resources = inventory.find(Cloud(settings))
    if options.json:
        print(json.dumps([dataclasses.asdict(r) for r in resources], default=str, indent=2))
    else:
        print(inventory.table(resources))
    return 0


def _delete(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud import inventory
    from dogbreeds.cloud.aws import Cloud

    if bool(options.names) == options.all:
        raise ConfigError("name what to delete (dogbreeds list), or say --all")
    cloud = Cloud(settings)
    found = [r for r in inventory.find(cloud) if options.all or r.name in options.names]
    if unknown := sorted(set(options.names) - {r.name for r in found}):
        raise ConfigError(f"not of this project, or not there: {', '.join(unknown)}")
    chosen = [r for r in found if r.removable]
    print(inventory.table(chosen))
    if not chosen:
        return 0
    if not options.yes and input("Delete these (jobs are stopped)? [y/N] ").lower() != "y":
        print("Nothing was deleted.")
        return 1
    failures = inventory.delete(cloud, chosen)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _doctor(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud import doctor
    from dogbreeds.cloud.aws import Cloud

    failed = False
    for finding in doctor.examine(Cloud(settings), options.purpose, options.model):
        print(finding, flush=True)
        failed |= finding.level == "FAIL"
    return 1 if failed else 0
