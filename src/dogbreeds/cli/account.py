"""``dogbreeds config``, ``push``, ``doctor``, ``list`` and ``delete``: settings and account."""

import argparse
import dataclasses
import json
import sys
from typing import Any

from dogbreeds.cli.verbs import add
from dogbreeds.cloud.settings import CloudSettings, ConfigError, describe


def register(verbs: Any) -> None:  # noqa: ANN401  (argparse's type is private)
    """Add the verbs to the command line."""
    add(verbs, "config", _config, (), "show the settings and where each comes from",
        needs_sdk=False)  # fmt: skip

    push = add(
        verbs,
        "push",
        _push,
        ("images.training,serving,flavor,keep",),
        "push both images to ECR or another registry",
    )
    push.add_argument("--json", action="store_true", help="one JSON document")
    push.add_argument("--registry", default="", metavar="HOST[:PORT][/PATH]",
                      help="default: the account's ECR")  # fmt: skip

    sections = ("network", "images.flavor,training_uri,serving_uri")
    doctor = add(verbs, "doctor", _doctor, sections, "find what would fail, before it costs")
    doctor.add_argument("purpose", choices=("train", "deploy", "transform"), metavar="VERB",
                        help="train, deploy or transform")  # fmt: skip
    doctor.add_argument("--json", action="store_true", help="one JSON document per line")
    doctor.add_argument("model", nargs="?", metavar="MODEL", help="an archive to look at, too")

    list_ = add(verbs, "list", _list, (), "show everything this project made on AWS")
    list_.add_argument("--json", action="store_true", help="one JSON document")

    delete = add(verbs, "delete", _delete, (), "remove what this project made, stop its jobs")
    delete.add_argument("names", nargs="*", metavar="NAME", help="as dogbreeds list shows them")
    delete.add_argument("--all", action="store_true", help="everything of this project")
    delete.add_argument("--yes", action="store_true", help="do not ask")


def _config(settings: CloudSettings, options: argparse.Namespace) -> int:
    print(describe(settings))
    return 0


def _push(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud.aws import Cloud
    from dogbreeds.cloud.images import ecr

    uris = ecr.push(Cloud(settings), options.registry)
    print(json.dumps(uris) if options.json else "\n".join(uris.values()))
    return 0


def _doctor(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud import doctor
    from dogbreeds.cloud.aws import Cloud

    failed = False
    for finding in doctor.examine(Cloud(settings), options.purpose, options.model):
        shown = json.dumps(dataclasses.asdict(finding)) if options.json else finding
        print(shown, flush=True)
        failed |= finding.level == "FAIL"
    return 1 if failed else 0


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
    from dogbreeds.cloud import inventory, naming
    from dogbreeds.cloud.aws import Cloud

    if bool(options.names) == options.all:
        raise ConfigError("name what to delete (dogbreeds list), or say --all")
    cloud = Cloud(settings)
    names = {naming.own_name(settings, name) for name in options.names} | set(options.names)
    found = [r for r in inventory.find(cloud) if options.all or r.name in names]
    known = {r.name for r in found}
    if unknown := [n for n in options.names if not {n, naming.own_name(settings, n)} & known]:
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
