"""What the verbs of ``dogbreeds`` on AWS have in common: flags for settings, errors, exit codes.

Only the settings are imported here; the SDK's seconds are spent by the verbs that need it.
"""

import argparse
import dataclasses
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dogbreeds.cloud.settings import DEFAULT_FILE, SECTIONS, CloudSettings, ConfigError
from dogbreeds.cloud.settings_sources import load, read_settings

Verb = Callable[[CloudSettings, argparse.Namespace], int]

MODEL = "s3://.../model.tar.gz, a training or tuning job, or a model package's ARN"
"""What may be given as a model."""


def add(
    verbs: Any,  # noqa: ANN401
    name: str,
    run: Verb,
    sections: tuple[str, ...],
    text: str,
    *,
    needs_sdk: bool = True,
) -> argparse.ArgumentParser:
    """Add a verb with a flag for each setting of some sections, besides those of [aws].

    Args:
        verbs: Where to.
        name: The verb.
        run: What it does.
        sections: ``"training"`` for all of a section, ``"images.flavor,keep"`` for some.
        text: What it does, in words.
        needs_sdk: Whether it works on AWS or by the SageMaker SDK.
    """
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    parser.add_argument("--config", type=Path, metavar="FILE",
                        help=f"settings (default: {DEFAULT_FILE})")  # fmt: skip
    parser.add_argument("--setting", action="append", default=[], metavar="SECTION.KEY=VALUE",
                        help="any setting of that file, e.g. project=dogs or tags=team=dogs,env=x"
                        )  # fmt: skip
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
    verb = functools.partial(_guarded, run) if needs_sdk else run
    parser.set_defaults(run=lambda _, options: _run(verb, options))
    return parser


def add_job_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of what starts a job."""
    parser.add_argument("--name", help="the job's name (default: made from what it does)")
    parser.add_argument("--new", action="store_true",
                        help="start another job even if the same one is running")  # fmt: skip
    parser.add_argument("--wait", action=argparse.BooleanOptionalAction, default=True,
                        help="follow the job to its end (default)")  # fmt: skip
    add_dry_run(parser)


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Add the flag of what sends requests."""
    parser.add_argument("--dry-run", action="store_true",
                        help="print what would be done and what it costs; send nothing, need no"
                        " credentials")  # fmt: skip
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="--dry-run: the requests, too")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON document")


def print_plan(cloud: Any, options: argparse.Namespace) -> None:  # noqa: ANN401  (Cloud's seconds)
    """Print what a dry run would have done."""
    from dogbreeds.cloud import plan

    if not options.json:
        print(plan.text(cloud))
    if options.json or options.verbose:
        print(json.dumps(cloud.requests, indent=2, default=str))


def _run(verb: Verb, options: argparse.Namespace) -> int:
    """Load the settings and run a verb; 2 if the settings cannot be used."""
    flags = {name: value for name, value in vars(options).items() if "." in name}
    try:
        flags = {**read_settings(options.setting), **flags}
        return verb(load(options.config, flags=flags), options)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _guarded(verb: Verb, settings: CloudSettings, options: argparse.Namespace) -> int:
    """Run a verb of AWS, and turn its errors into a line and an exit code."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        from dogbreeds.cloud.aws import CloudError, explain
    except ImportError as error:
        print(f"error: {error.name} is missing: run make cloud", file=sys.stderr)
        return 1
    try:
        return verb(settings, options)
    except (CloudError, BotoCoreError, ClientError, ResponseParserError) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if getattr(options, "local", None) or not hasattr(options, "dry_run"):
            print("\nStopped; nothing is left running.", file=sys.stderr)
            return 130
        print(
            "\nNot waiting any longer; what was started on AWS goes on (dogbreeds list). The same"
            " command follows it again.",
            file=sys.stderr,
        )
        return 130
