"""``dogbreeds deploy``, ``predict`` and ``register``: a trained model, to be asked or kept."""

import argparse
import contextlib
import json
import signal
import time
from pathlib import Path
from typing import Any

from dogbreeds.cli.verbs import MODEL, add, add_dry_run, print_plan
from dogbreeds.cloud.settings import CloudSettings


def register(verbs: Any) -> None:  # noqa: ANN401  (argparse's type is private)
    """Add the verbs to the command line."""
    sections = ("endpoint", "network", "images.flavor,serving_uri")
    deploy = add(verbs, "deploy", _deploy, sections, "make or update an endpoint")
    deploy.add_argument("model", metavar="MODEL", help=MODEL)
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
    add_dry_run(deploy)

    predict = add(
        verbs, "predict", _predict, ("endpoint.name,kind",), "ask an endpoint about photos"
    )
    predict.add_argument("photos", nargs="+", type=Path, metavar="PHOTO",
                         help="photos, or folders of photos")  # fmt: skip
    predict.add_argument(
        "--target-model", metavar="NAME", help="an archive of a multi-model endpoint"
    )
    predict.add_argument("--json", action="store_true", help="one JSON document a line")

    keep = add(
        verbs, "register", _register_model, ("images.flavor,serving_uri",), "keep a model's version"
    )
    keep.add_argument("model", metavar="MODEL", help=MODEL)
    keep.add_argument("--approve", action="store_true", help="approve it at once")
    add_dry_run(keep)


def _deploy(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud.aws import Cloud
    from dogbreeds.cloud.endpoints import deploy as endpoints
    from dogbreeds.cloud.endpoints import predict, scaling
    from dogbreeds.cloud.endpoints.config import Side, endpoint_name

    if options.photo:
        predict.find_photos([options.photo])
    if options.local:
        return _serve_locally(settings, options)
    challenger = options.challenger and Side.parse(options.challenger, most=0.99)
    shadow = options.shadow and Side.parse(options.shadow, most=1)
    cloud = Cloud(settings, dry_run=options.dry_run)
    config = endpoints.deploy(cloud, options.model, challenger=challenger, shadow=shadow)
    if options.dry_run:
        scaling.scale(cloud)
        print_plan(cloud, options)
        return 0
    name, answer = endpoint_name(settings), None
    if options.wait:
        endpoints.wait(cloud, config)
        scaling.scale(cloud)
        prediction = predict.smoke_test(cloud, options.model, options.photo)
        answer = prediction.answer
        if not options.json:
            print(predict.line(prediction))
    if options.json:
        print(json.dumps({"name": name, "configuration": config, "answer": answer}))
        return 0
    kind = settings.endpoint.kind
    flags = {"async": " --kind async", "multi-model": " --kind multi-model --target-model NAME"}
    print(f"\n  dogbreeds predict PHOTO --region {cloud.region} --name {name}{flags.get(kind, '')}")
    return 0


def _serve_locally(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud.jobs import local_mode as local

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

    from dogbreeds.cloud.aws import Cloud
    from dogbreeds.cloud.endpoints import predict

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


def _register_model(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud.aws import Cloud
    from dogbreeds.cloud.endpoints import registry

    cloud = Cloud(settings, dry_run=options.dry_run)
    arn = registry.register(cloud, options.model, approve=options.approve)
    if options.dry_run:
        print_plan(cloud, options)
    else:
        print(json.dumps({"arn": arn}) if options.json else arn)
    return 0
