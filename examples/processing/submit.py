"""Check photos on S3 with several instances: two SageMaker Processing jobs, one after the other.

python examples/processing/submit.py --instances 20

Region, role, bucket and photos are those of `dogbreeds.toml`. `README.md` explains the rest.
"""

import argparse
import sys
import time
from pathlib import Path

import boto3

import dogbreeds
from dogbreeds.cloud import settings_sources

SCRIPT = Path(__file__).with_name("photo_check.py")
ML = "/opt/ml/processing"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=2)
    parser.add_argument("--instance-type", default="ml.c5.4xlarge")
    parser.add_argument("--merge-type", default="ml.m5.4xlarge", help="2 kB of memory per photo")
    parser.add_argument("--volume-gb", type=int, default=100, help="per instance, for its photos")
    arguments = parser.parse_args()

    settings = settings_sources.load()
    session = boto3.Session(region_name=settings.aws.region or None)
    bucket, name = settings.aws.bucket, f"dogbreeds-check-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = f"{settings.aws.prefix}/jobs/{name}"  # where iam/job-role.json allows writing
    code, shares, report = (
        f"s3://{bucket}/{folder}/{part}/" for part in ("code", "shares", "report")
    )
    session.client("s3").upload_file(str(SCRIPT), bucket, f"{folder}/code/{SCRIPT.name}")

    def run(job, command, source, distribution, target, instances, instance_type):
        """Run `command` on each instance, over its files of `source`; wait for what it writes."""
        sagemaker = session.client("sagemaker")
        sagemaker.create_processing_job(
            ProcessingJobName=job,
            RoleArn=settings.aws.role,
            AppSpecification={
                "ImageUri": dogbreeds.image_uri("training"),
                "ContainerEntrypoint": ["python3", f"{ML}/code/{SCRIPT.name}", *command],
            },
            ProcessingInputs=[
                input_of("code", code, "FullyReplicated"),
                input_of("in", source, distribution),
            ],
            ProcessingOutputConfig={"Outputs": [output_of("out", target)]},
            ProcessingResources={
                "ClusterConfig": {
                    "InstanceCount": instances,
                    "InstanceType": instance_type,
                    "VolumeSizeInGB": arguments.volume_gb,
                }
            },
            StoppingCondition={"MaxRuntimeInSeconds": 86400},
        )
        print(f"{job}: {instances} x {instance_type}", flush=True)
        while True:
            job_now = sagemaker.describe_processing_job(ProcessingJobName=job)
            status = job_now["ProcessingJobStatus"]
            if status == "Completed":
                return
            if status not in ("InProgress", "Stopping"):
                sys.exit(f"{job}: {status}. {job_now.get('FailureReason', '')}")
            time.sleep(30)

    photos = settings.training.data.rstrip("/") + "/"  # without the slash, photos-old/ would match
    config = "/opt/ml/config/resourceconfig.json"
    run(name, ["examine", f"{ML}/in", f"{ML}/out", config], photos, "ShardedByS3Key", shares,
        arguments.instances, arguments.instance_type)  # fmt: skip
    run(f"{name}-merge", ["merge", f"{ML}/in", f"{ML}/out"], shares, "FullyReplicated", report,
        1, arguments.merge_type)  # fmt: skip
    print(f"{report}report.json\n{report}offenders.txt")


def input_of(name, address, distribution):
    return {
        "InputName": name,
        "S3Input": {
            "S3Uri": address,
            "LocalPath": f"{ML}/{name}",
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
            "S3DataDistributionType": distribution,
        },
    }


def output_of(name, address):
    path = {"S3Uri": address, "LocalPath": f"{ML}/{name}", "S3UploadMode": "EndOfJob"}
    return {"OutputName": name, "S3Output": path}


if __name__ == "__main__":
    main()
