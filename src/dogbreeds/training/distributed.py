"""The processes of a job as torchrun starts them: one per GPU, or one per host without GPUs.

`batch_size` counts the photos of a step over all processes together, and random numbers are drawn
for the whole batch before it is split. So the number of processes changes how long a job takes but
not what it learns, up to rounding. Batch norm takes its statistics over all processes: by
SyncBatchNorm on GPUs, by `batch_norm` on CPUs, where PyTorch has no such layer.
"""

import contextlib
import enum
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dogbreeds.system.errors import DogbreedsError
from dogbreeds.training.batch_norm import share_batch_norm

T = TypeVar("T")

# A process that ends closes its connections, which the others notice at once. The limits are for
# a host that vanishes without a word: in a step, and while photos are read, which takes longer.
_STEP_LIMIT = timedelta(minutes=5)
_PREPARATION_LIMIT = timedelta(hours=2)


class ClusterError(DogbreedsError, RuntimeError):
    """Another process of the job is gone or does something else; the message says what to do."""


@dataclass(frozen=True)
class Cluster:
    """This process among those of the job.

    Attributes:
        rank: From 0 to size - 1; 0 alone writes.
        size: Processes in all.
        local_rank: Among the processes of this host, from 0.
        patient: Group for what takes long, with the CPU as device; None in a job of one process.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    patient: "dist.ProcessGroup | None" = None

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    def part(self, index: torch.Tensor) -> torch.Tensor:
        """Return this process's share: a run of the first dimension, all but equal in length."""
        return index.tensor_split(self.size)[self.rank]

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return a module whose backward pass averages gradients over all processes.

        Args:
            model: On the device.
        """
        if self.size == 1:
            return model
        device = next(model.parameters()).device
        # Buffers are shared before evaluation instead of at each step (`share_buffers`).
        return DistributedDataParallel(
            model,
            device_ids=[device] if device.type == "cuda" else None,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )

    def convert(self, model: nn.Module) -> nn.Module:
        """Return the model with batch statistics over all processes."""
        return share_batch_norm(model) if self.size > 1 else model

    def broadcast_weights(self, model: nn.Module) -> None:
        """Give all processes the parameters and running statistics of rank 0."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Give all processes the running statistics of rank 0."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all processes."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def all_gather(self, part: torch.Tensor) -> torch.Tensor:
        """Put the shares of `part` together again, in order, in every process.

        Args:
            part: Shape [N_i, ...]; N_i may differ from process to process.

        Returns:
            Shape [sum of N_i, ...].
        """
        if self.size == 1:
            return part
        counts = [torch.zeros(1, dtype=torch.int64, device=part.device) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor([len(part)], device=part.device))
        longest = max(int(count) for count in counts)
        padded = part.new_zeros(longest, *part.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.cat([p[: int(n)] for p, n in zip(parts, counts, strict=True)])

    def broadcast(self, value: T) -> T:
        """Return rank 0's value in every process."""
        return self.collect(value)[0]

    def collect(self, value: T) -> list[T]:
        """Return the values of all processes, by rank."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value, group=self.patient)
        return values  # type: ignore[return-value]  # all are filled now

    def from_local_leader(self, value: T) -> T:
        """Return the value of the process with local rank 0 on this host."""
        return self.collect(value)[self.rank - self.local_rank]


class Vote(enum.IntEnum):
    """What a process wants after a step; the highest vote of all counts."""

    GO_ON = 0
    CHECKPOINT = 1
    STOP = 2


class VoteCount:
    """Has all processes do the same after the same step, though signals reach each at another.

    Votes are counted while the next step runs, so that no step waits for them.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._votes = torch.zeros(1, dtype=torch.int64)
        self._count: dist.Work | None = None

    def cast(self, vote: Vote) -> Vote:
        """Vote after a step.

        Args:
            vote: What this process wants.

        Returns:
            What all do now: of several processes the result of the votes after the step before.
        """
        if self._cluster.size == 1:
            return vote
        result = Vote.GO_ON
        if self._count is not None:
            self._count.wait()
            result = Vote(int(self._votes))
        self._votes = torch.tensor([int(vote)])
        self._count = dist.all_reduce(
            self._votes, dist.ReduceOp.MAX, group=self._cluster.patient, async_op=True
        )
        return result


@contextlib.contextmanager
def join_cluster(environ: Mapping[str, str] = os.environ) -> Iterator[Cluster]:
    """Meet the other processes of the job; a job of one process needs none of this.

    Args:
        environ: torchrun's variables (``RANK``, ``WORLD_SIZE``, ...); without them the job is of
            one process.

    Raises:
        ClusterError: Another process is gone.
    """
    size = int(environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Cluster()
        return
    _choose_interface(environ)
    local_rank = int(environ["LOCAL_RANK"])
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=_STEP_LIMIT)
        patient = dist.new_group(backend="gloo", timeout=_PREPARATION_LIMIT)
        yield Cluster(int(environ["RANK"]), size, local_rank, patient)  # type: ignore[arg-type]
    except RuntimeError as error:
        if not _is_lost_contact(error):
            raise
        raise ClusterError(
            "lost contact with another process of the job: it failed, was killed or its host died;"
            f" the log of the other hosts tells more ({error})"
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _is_lost_contact(error: RuntimeError) -> bool:
    # torch raises plain RuntimeError from gloo, and DistBackendError & Co. from NCCL.
    return isinstance(error, dist.DistError) or any(
        word in str(error).lower() for word in ("gloo", "nccl", "connection closed", "timed out")
    )


def _choose_interface(environ: Mapping[str, str]) -> None:
    """Let gloo use the interface that SageMaker names, where the host has it."""
    name = environ.get("SM_NETWORK_INTERFACE_NAME", "")
    if environ.get("LOCAL_WORLD_SIZE") != environ["WORLD_SIZE"] and name in (
        interface for _, interface in socket.if_nameindex()
    ):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
