"""``dogbreeds config``, ``push``, ``doctor``, ``list``, ``delete`` and ``register``."""

import click

from dogbreeds.cli import base, flags
from dogbreeds.cli.train import with_job
from dogbreeds.cloud.settings import CloudSettings, ConfigError, describe

_COLORS = {"ok": "green", "note": "yellow", "FAIL": "red"}


@base.command()
@flags.json_option
@flags.with_settings()
def config(settings: CloudSettings, as_json: bool) -> None:
    """Show the settings and where each comes from."""
    base.output(as_json, settings, lambda: describe(settings))


@base.command()
@flags.json_option
@flags.with_settings("images.training,serving,flavor,keep")
def push(settings: CloudSettings, as_json: bool) -> None:
    """Push both images to ECR; print their URIs."""
    from dogbreeds.cloud.images import ecr

    with base.only_json(as_json):
        uris = ecr.push(base.connect(settings))
    base.output(as_json, uris, lambda: "\n".join(uris.values()))


@click.group(cls=base.Group)
def doctor() -> None:
    """Find what would fail on SageMaker, before it costs.

    Each takes the flags of the command that it checks. The exit code is 1 if something would fail.
    """


@doctor.command()
@flags.set_option
@flags.json_option
@flags.with_settings("training", "network", "images.flavor,training_uri")
def train(settings: CloudSettings, hyperparameters: dict[str, str], as_json: bool) -> int:
    """Check what a training or tuning job needs."""
    settings = with_job(settings, base.SAGEMAKER, None, None, hyperparameters)
    return _examine(settings, "train", None, as_json)


@doctor.command()
@click.argument("model", required=False)
@flags.json_option
@flags.with_settings("endpoint", "network", "images.flavor,serving_uri")
def deploy(settings: CloudSettings, model: str | None, as_json: bool) -> int:
    """Check what an endpoint needs. MODEL is an artifact to examine as well."""
    return _examine(settings, "deploy", model, as_json)


@doctor.command()
@click.argument("model", required=False)
@flags.json_option
@flags.with_settings("transform", "network", "images.flavor,serving_uri")
def transform(settings: CloudSettings, model: str | None, as_json: bool) -> int:
    """Check what a batch transform job needs. MODEL is an artifact to examine as well."""
    return _examine(settings, "transform", model, as_json)


def _examine(settings: CloudSettings, purpose: str, model: str | None, as_json: bool) -> int:
    from dogbreeds.cloud import doctor

    findings = []
    for finding in doctor.examine(base.connect(settings), purpose, model):
        findings.append(finding)
        if not as_json:
            level = click.style(f"{finding.level:<5}", fg=_COLORS[finding.level])
            remedy = f"\n      {finding.remedy}" if finding.remedy else ""
            click.echo(f"{level} {finding.what}{remedy}")
    if as_json:
        base.print_json(findings)
    return int(any(finding.level == "FAIL" for finding in findings))


@base.command()
@flags.json_option
@flags.with_settings()
def list_(settings: CloudSettings, as_json: bool) -> None:
    """Show everything that this project created on AWS."""
    from dogbreeds.cloud import inventory

    resources = inventory.find(base.connect(settings))
    base.output(as_json, resources, lambda: inventory.table(resources))


@base.command()
@click.argument("names", nargs=-1)
@base.option("--all", "everything", is_flag=True, help="Everything of this project.")
@base.option("--yes", is_flag=True, help="Do not ask.")
@flags.with_settings()
def delete(settings: CloudSettings, names: tuple[str, ...], everything: bool, yes: bool) -> int:
    """Delete what this project created on AWS; its running jobs are stopped.

    NAMES are those that dogbreeds list shows.
    """
    from dogbreeds.cloud import inventory, naming

    if bool(names) == everything:
        raise ConfigError("name what to delete (dogbreeds list), or pass --all")
    cloud = base.connect(settings)
    requested = {naming.own_name(settings, name): name for name in names}
    found = [r for r in inventory.find(cloud) if everything or r.name in requested]
    known = {r.name for r in found}
    if unknown := sorted(name for own, name in requested.items() if own not in known):
        raise ConfigError(f"not of this project, or not there: {', '.join(unknown)}")
    chosen = [r for r in found if r.removable]
    click.echo(inventory.table(chosen))
    if not chosen:
        return 0
    if not yes and not click.confirm("Delete these (jobs are stopped)?"):
        click.echo("Nothing was deleted.")
        return 1
    failures = inventory.delete(cloud, chosen)
    for failure in failures:
        click.echo(f"error: {failure}", err=True)
    return 1 if failures else 0


@base.command(epilog=base.MODEL)
@click.argument("model")
@base.option("--approve", is_flag=True, help="Approve it at once.")
@flags.dry_run_option
@flags.json_option
@flags.with_settings("images.flavor,serving_uri")
def register(
    settings: CloudSettings, model: str, approve: bool, dry_run: bool, as_json: bool
) -> None:
    """Register a version of a model in SageMaker's Model Registry; print its ARN."""
    from dogbreeds.cloud.endpoints import models

    cloud = base.connect(settings, dry_run=dry_run)
    flags.Job(None, False, False, dry_run, as_json).run(
        cloud, lambda: models.register(cloud, model, approve=approve), lambda arn: {}
    )
