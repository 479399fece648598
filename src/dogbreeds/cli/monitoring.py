"""What ``dogbreeds profile`` and ``dogbreeds debug`` show of a job's folder."""

import argparse
import itertools
import json
import sys
from pathlib import Path


def add_profile_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `show_profile`."""
    parser.add_argument("job", metavar="JOB|FOLDER", help="a training job, or what one wrote")
    parser.add_argument("--rows", type=int, default=20, metavar="N",
                        help="rows of the table to print (default: 20)")  # fmt: skip
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the whole table")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw it over time")


def show_profile(folder: Path, options: argparse.Namespace) -> int:
    """Print the system metrics of a job: their table, a summary by phase, and what they tell."""
    from dogbreeds.job_output import profile

    try:
        found = profile.read_profile(folder)
        print(profile.table(itertools.islice(profile.rows(found), options.rows), profile.COLUMNS))
        print(f"\n{profile.usage_table(profile.usage(found))}\n")
        print("\n".join(profile.verdicts(found)))
        if options.csv:
            profile.write_csv(found, options.csv)
        if options.plot:
            profile.plot(found, options.plot)
    except (profile.ProfileError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def add_debug_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `show_findings`."""
    parser.add_argument("job", metavar="JOB|FOLDER",
                        help="a training job with Debugger, or what one wrote")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--plot", type=Path, metavar="FILE.png",
                        help="draw each rule's number over the steps")  # fmt: skip


def show_findings(folder: Path, options: argparse.Namespace) -> int:
    """Print what Debugger's rules find; 1 if one fires, or there is nothing to judge."""
    try:
        from dogbreeds.job_output import findings as found
        from dogbreeds.monitoring.debugger import rules
    except ImportError as error:
        print(f"error: {error.name} is missing: Debugger's tensors are read by smdebug (see"
              " containers/training/debugger.in)", file=sys.stderr)  # fmt: skip
        return 1
    try:
        findings = rules.find(folder)
        if options.plot:
            found.plot(findings, options.plot)
    except (rules.TrialError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps([finding.to_json() for finding in findings], indent=2))
    else:
        print(found.table(findings))
    return int(any(finding.first for finding in findings))
