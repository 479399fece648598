"""GPU drivers of SageMaker's hosts, and what an image's CUDA version needs.

Sources: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProductionVariant.html
(InferenceAmiVersion), https://docs.nvidia.com/deploy/cuda-compatibility, and the release notes and
``NVIDIA_REQUIRE_CUDA`` of NVIDIA's PyTorch images.
"""

import re

Cuda = tuple[int, int]
"""Major and minor version."""

DEFAULT_BASE = "nvcr.io/nvidia/pytorch:25.03-py3"
"""The newest that starts on every host: driver 470 runs CUDA up to 12.8, Blackwell needs 12.8."""

_BATCH_AMI = "al2-ami-sagemaker-batch-gpu-535"  # the newest
AMIS = {
    "al2-ami-sagemaker-inference-gpu-2-1": 535,
    "al2-ami-sagemaker-inference-gpu-3-1": 550,
    "al2023-ami-sagemaker-inference-gpu-4-1": 580,
    _BATCH_AMI: 535,
}
"""Driver branch by ``InferenceAmiVersion`` of endpoints and ``TransformAmiVersion`` of batches.

Branch 535 ended in June 2026.
"""

TESTED_DRIVERS = {12: 550, 13: 580}
"""Driver on which AWS tests a CUDA major version; a CUDA 12 image hung on driver 580."""

_BLACKWELL = r"g7e?|p6e?-\w+"
_BLACKWELL_DRIVER, _BLACKWELL_CUDA = 570, (12, 8)  # the first to support these GPUs
_DEFAULT_DRIVERS = {"p5e": 550, "p5en": 550, "p5": 535, "g6": 535, "g6e": 535}
_OLDEST_DRIVER = 470  # g4dn, g5, p4d, ...

# The first NGC release (year, month) with a CUDA version.
_RELEASES = {
    (25, 8): (13, 0), (25, 4): (12, 9), (25, 1): (12, 8), (23, 1): (12, 0), (20, 6): (11, 0)
}  # fmt: skip
_UNKNOWN_CUDA = (12, 9)

MAX_SERVERLESS_IMAGE_GB = 10
"""Largest uncompressed image of a serverless endpoint."""


def family(instance_type: str) -> str:
    """Return ``"g5"`` for ``"ml.g5.xlarge"``."""
    return instance_type.split(".")[1]


def has_gpu(instance_type: str) -> bool:
    """Whether an instance type has NVIDIA GPUs."""
    return bool(re.match(r"(g|gr|p)\d", family(instance_type)))


def is_blackwell(instance_type: str) -> bool:
    """Whether an instance type has GPUs of NVIDIA's Blackwell generation."""
    return bool(re.fullmatch(_BLACKWELL, family(instance_type)))


def has_local_disk(instance_type: str) -> bool:
    """Whether an instance type has a local, always encrypted disk; a KMS key is refused there."""
    pattern = rf"g4dn|g5|gr?6e?|p3dn|p4de?|p5(e|en)?|{_BLACKWELL}|[cmr]\d[a-z]*d[a-z]*"
    return bool(re.fullmatch(pattern, family(instance_type)))


def cuda_of_base(base: str) -> Cuda | None:
    """Return the CUDA version of a base image, None for one without CUDA.

    Bases are ``"nvcr.io/nvidia/pytorch:25.03-py3"`` or ``"nvidia/cuda:12.8.1-runtime"``; any other
    image is assumed to have CUDA 12 unless its name contains ``cpu``.
    """
    if found := re.search(r"nvidia/pytorch:(\d\d)\.(\d\d)", base):
        release = (int(found[1]), int(found[2]))
        return next((cuda for first, cuda in _RELEASES.items() if release >= first), (10, 0))
    if found := re.search(r"cuda[:-]?(\d+)\.(\d+)", base):
        return int(found[1]), int(found[2])
    return None if "cpu" in base else _UNKNOWN_CUDA


def needed_driver(cuda: Cuda, instance_type: str = "") -> int:
    """Return the oldest driver branch that runs a CUDA version, on an instance type if given.

    Up to CUDA 12.8, the compatibility libraries in the image extend branch 470.
    """
    driver = 580 if cuda >= (13, 0) else 535 if cuda >= (12, 9) else 470 if cuda[0] == 12 else 450
    blackwell = instance_type and is_blackwell(instance_type)
    return max(driver, _BLACKWELL_DRIVER) if blackwell else driver


def default_driver(instance_type: str) -> int:
    """Return the driver branch of an endpoint's host where no AMI version is requested."""
    if is_blackwell(instance_type):
        return _BLACKWELL_DRIVER  # at least: older ones do not work
    return _DEFAULT_DRIVERS.get(family(instance_type), _OLDEST_DRIVER)


def endpoint_ami(instance_type: str, cuda: Cuda | None) -> str | None:
    """Return the ``InferenceAmiVersion`` on which AWS tests a CUDA version.

    None where the default host is as new, or has no GPU.
    """
    if cuda is None or not has_gpu(instance_type) or cuda[0] not in TESTED_DRIVERS:
        return None
    tested = TESTED_DRIVERS[cuda[0]]
    if default_driver(instance_type) >= tested:
        return None
    return next(ami for ami, driver in AMIS.items() if driver == tested)


def batch_ami(instance_type: str, cuda: Cuda | None) -> str | None:
    """Return the newest ``TransformAmiVersion`` for an image of CUDA 12 or later, else None."""
    return _BATCH_AMI if has_gpu(instance_type) and cuda and cuda >= (12, 0) else None


def check(instance_type: str, cuda: Cuda | None, ami: str | None, driver: int) -> str:
    """Return why an image of a CUDA version cannot use the GPUs of a host, and what to do.

    The answer is empty if it can. `ami` is the requested host image, None for the default one, and
    `driver` its driver branch.
    """
    if cuda is None:
        return ""
    version = ".".join(map(str, cuda))
    if is_blackwell(instance_type) and cuda < _BLACKWELL_CUDA:
        return (
            f"CUDA {version} does not support Blackwell GPUs ({instance_type}): build on CUDA 12.8"
            f" or later (BASE_IMAGE={DEFAULT_BASE})"
        )
    if ami and cuda[0] == 12 and driver >= TESTED_DRIVERS[13] and not is_blackwell(instance_type):
        return (
            f"images of CUDA 12 were seen to hang on {ami}: leave endpoint.ami_version out, or"
            " build on CUDA 13 (a BASE_IMAGE from 25.08 on)"
        )
    needed = needed_driver(cuda, instance_type)
    if driver >= needed:
        return ""
    return (
        f"CUDA {version} needs driver {needed}, {ami or 'the default host'} has"
        f" {driver or 'an unknown one'}: leave ami_version out, or build on an older CUDA"
        f" (BASE_IMAGE={DEFAULT_BASE})"
    )
