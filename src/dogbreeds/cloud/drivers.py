"""What SageMaker's hosts bring along, and what an image needs of them.

Sources: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProductionVariant.html
(InferenceAmiVersion), https://docs.nvidia.com/deploy/cuda-compatibility and the release notes of
NVIDIA's PyTorch images.
"""

import re
from typing import NamedTuple


class Host(NamedTuple):
    """A host image: its name, NVIDIA driver branch and the CUDA major version that runs on it."""

    ami: str
    driver: int


ENDPOINT_AMIS = (
    Host("al2-ami-sagemaker-inference-gpu-2-1", 535),
    Host("al2-ami-sagemaker-inference-gpu-3-1", 550),
    Host("al2023-ami-sagemaker-inference-gpu-4-1", 580),
)
"""``InferenceAmiVersion`` of endpoints, oldest first."""

BATCH_AMIS = (
    Host("al2-ami-sagemaker-batch-gpu-470", 470),
    Host("al2-ami-sagemaker-batch-gpu-535", 535),
)
"""``TransformAmiVersion`` of batch transform, oldest first."""

_DEFAULT_DRIVERS = {"p5e": 550, "p5en": 550, "p5": 535, "g6": 535, "g6e": 535}
_OLDEST_DRIVER = 470  # g4dn, g5, p4d, ...

NEEDED_DRIVERS = {11: 450, 12: 535, 13: 580}
"""Driver on which a CUDA major version runs without compatibility libraries."""

_FIRST_WITH_CUDA = ((25, 8, 13), (23, 1, 12), (20, 6, 11))  # NGC release: year, month, CUDA

MAX_IMAGE_GB = {"serverless": 10, "real-time": 80, "async": 80}
"""Largest uncompressed image; serverless endpoints take no more than 10 GB."""


def family(instance_type: str) -> str:
    """Return ``"g5"`` for ``"ml.g5.xlarge"``."""
    return instance_type.split(".")[1]


def has_gpu(instance_type: str) -> bool:
    """Whether an instance type has NVIDIA GPUs."""
    return bool(re.match(r"(g|gr|p)\d", family(instance_type)))


def has_local_disk(instance_type: str) -> bool:
    """Whether an instance type stores on its own, always encrypted disk.

    SageMaker refuses a volume's KMS key there.
    """
    pattern = r"g4dn|g5|gr?6e?|p3dn|p4de?|p5(e|en)?|[cmr]\d[a-z]*d[a-z]*"
    return bool(re.fullmatch(pattern, family(instance_type)))


def cuda_of_base(base: str) -> int | None:
    """Return the CUDA major version of a base image, None where its name does not tell.

    Args:
        base: Such as ``"nvcr.io/nvidia/pytorch:25.04-py3"``.
    """
    if found := re.search(r"nvidia/pytorch:(\d\d)\.(\d\d)", base):
        release = (int(found[1]), int(found[2]))
        for year, month, cuda in _FIRST_WITH_CUDA:
            if release >= (year, month):
                return cuda
    return None


def default_driver(instance_type: str) -> int:
    """Return the driver branch of an endpoint's host where no AMI version is asked for."""
    return _DEFAULT_DRIVERS.get(family(instance_type), _OLDEST_DRIVER)


def endpoint_ami(instance_type: str, cuda: int | None) -> str | None:
    """Return the ``InferenceAmiVersion`` that an image needs on an endpoint.

    Args:
        instance_type: Such as ``"ml.g5.xlarge"``.
        cuda: The image's CUDA major version.

    Returns:
        The oldest sufficient one; None where the default suffices or nothing is known.
    """
    if cuda is None or not has_gpu(instance_type):
        return None
    needed = NEEDED_DRIVERS[cuda]
    if default_driver(instance_type) >= needed:
        return None
    return next(host.ami for host in ENDPOINT_AMIS if host.driver >= needed)


def batch_ami(instance_type: str, cuda: int | None) -> str | None:
    """Return the ``TransformAmiVersion`` for an image: the newest there is, where it matters."""
    return BATCH_AMIS[-1].ami if has_gpu(instance_type) and cuda and cuda >= 12 else None
