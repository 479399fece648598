"""``dogbreeds deploy``: an endpoint."""

from pathlib import Path
from typing import Any

import click

from dogbreeds.cli import base, flags
from dogbreeds.cli.predict import find_photos, line
from dogbreeds.cli.serve import serve_until_stopped
from dogbreeds.cloud.settings import CloudSettings


@base.command(epilog=f"On SageMaker {base.MODEL}")
@click.argument("model")
@flags.on_option(base.HERE, base.DOCKER, base.SAGEMAKER)
@base.option("--challenger", metavar="MODEL@SHARE",
             help="Answers this share of the requests, e.g. my-job@0.1.")  # fmt: skip
@base.option("--shadow", metavar="MODEL@SHARE", help="Gets copies of this share of the requests.")
@base.option("--port", type=base.PORT, default=8080, metavar="N",
             help="local, docker: where to listen.")  # fmt: skip
@base.option("--photo", type=base.PATH, metavar="FILE", help="The photo of the test at the end.",
             show_default="a plain picture")  # fmt: skip
@base.option("--wait/--no-wait", default=True, help="Wait, set the scaling, test the endpoint.")
@flags.dry_run_option
@flags.json_option
@flags.with_settings("endpoint", "network", "images.flavor,serving_uri")
def deploy(
    settings: CloudSettings, model: str, on: str, challenger: str | None, shadow: str | None,
    port: int, photo: Path | None, wait: bool, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Create or update an endpoint.

    MODEL is an artifact, a file here or on S3, or the name of a job. With --on local or docker it
    is served until Ctrl-C.
    """
    job = flags.Job(None, False, wait, dry_run, as_json)
    if on == base.SAGEMAKER:
        _on_sagemaker(settings, model, challenger, shadow, photo, job)
        return
    others = {"--challenger": challenger, "--shadow": shadow, "--json": as_json}
    usable = ("images.flavor", "images.serving_uri") if on == base.DOCKER else ()
    flags.refuse_flags(settings, on, job.flags() | others, usable)
    serve_until_stopped(Path(model), port, photo, settings if on == base.DOCKER else None)


def _on_sagemaker(
    settings: CloudSettings, model: str, challenger: str | None, shadow: str | None,
    photo: Path | None, job: flags.Job,
) -> None:  # fmt: skip
    from dogbreeds.cloud.endpoints import deploy, operations, predict
    from dogbreeds.cloud.endpoints.config import Variant, endpoint_name

    if photo:
        photo = find_photos([photo])[0]  # fail before anything is created
    variant = Variant.parse(challenger, most=0.99) if challenger else None
    copies = Variant.parse(shadow, most=1) if shadow else None
    cloud = base.connect(settings, dry_run=job.dry_run)
    name, kind = endpoint_name(settings), settings.endpoint.kind
    config = deploy.deploy(cloud, model, challenger=variant, shadow=copies)

    def wait(name: str) -> dict[str, Any]:
        deploy.wait(cloud, config)
        operations.scale(cloud)
        asked = predict.smoke_test(cloud, model, photo)
        click.echo(line(*asked))
        return {"config": config, "answer": asked.answer}

    if job.dry_run:
        operations.scale(cloud)
    job.run(cloud, lambda: name, wait)
    if not job.dry_run and not job.as_json:
        kinds = {"async": " --kind async", "multi-model": " --kind multi-model --target-model NAME"}
        click.echo(f"\n  dogbreeds predict PHOTO --region {cloud.region} --name {name}"
                   f"{kinds.get(kind, '')}", err=True)  # fmt: skip
