"""The processes of a job as torchrun starts them: one per GPU, or one per host without GPUs.

`batch_size` counts the photos of a step over all processes, random numbers are drawn for the whole
batch before it is split, and batch norm uses the statistics of all processes. So their number
changes a job's duration but, up to rounding, not its result.
"""

import contextlib
import enum
import os
import socket
import time
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

# A process that exits closes its connections, which the others notice at once. The timeouts are for
# a host that vanishes: during a step, and during the longer reading of photos.
_STEP_TIMEOUT = timedelta(minutes=5)
_PREPARATION_TIMEOUT = timedelta(hours=2)


class ClusterError(DogbreedsError, RuntimeError):
    """Another process of the job is gone; the message says what to do."""


@dataclass(frozen=True)
class Cluster:
    """This process among those of the job."""

    rank: int = 0  # from 0 to size - 1; only 0 prints and writes
    size: int = 1  # processes of the job
    local_rank: int = 0  # among the processes of this host, from 0
    patient: "dist.ProcessGroup | None" = None  # on CPUs, with a long timeout; None: size is 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def part(self, index: torch.Tensor) -> torch.Tensor:
        """Return this process's slice of the first dimension; sizes differ by at most 1."""
        return index.tensor_split(self.size)[self.rank]

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return a module whose backward pass averages gradients over all processes."""
        if self.size == 1:
            return model
        device = next(model.parameters()).device
        # Running statistics are broadcast before evaluation, not at each step.
        return DistributedDataParallel(
            model,
            device_ids=[device] if device.type == "cuda" else None,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )

    def convert(self, model: nn.Module) -> nn.Module:
        """Return the model with batch norm over all processes."""
        return share_batch_norm(model) if self.size > 1 else model

    def broadcast_weights(self, model: nn.Module) -> None:
        """Copy the parameters and running statistics of rank 0 to all processes."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all processes."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def all_gather(self, part: torch.Tensor) -> torch.Tensor:
        """Concatenate the parts of all processes by rank: [N_i, ...] to [sum of N_i, ...]."""
        if self.size == 1:
            return part
        counts = self.collect(len(part))
        padded = part.new_zeros(max(counts), *part.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.cat([p[:n] for p, n in zip(parts, counts, strict=True)])

    def broadcast(self, value: T) -> T:
        """Return rank 0's value in every process."""
        return self.collect(value)[0]

    def collect(self, value: T) -> list[T]:
        """Return the values of all processes, by rank."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value, group=self.patient)
        return values  # type: ignore[return-value]  # all are set now

    def from_local_leader(self, value: T) -> T:
        """Return the value of the process with local rank 0 on this host."""
        return self.collect(value)[self.rank - self.local_rank]


class Vote(enum.IntEnum):
    """What a process votes for after a step; the highest vote wins."""

    CONTINUE = 0
    CHECKPOINT = 1
    STOP = 2


class VoteCount:
    """Makes all processes act alike after a step, though signals reach them at different steps.

    Votes are counted while the next step runs, so that no step waits for them.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._votes: torch.Tensor
        self._count: dist.Work | None = None

    def cast(self, vote: Vote) -> Vote:
        """Vote after a step; return what to do now, by the votes after the step before."""
        if self._cluster.size == 1:
            return vote
        result = Vote.CONTINUE
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
    """Yield this process's place in torchrun's job, if any; ClusterError if another one is gone."""
    size = int(environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Cluster()
        return
    local_rank, backend = int(environ["LOCAL_RANK"]), "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
        backend = "cpu:gloo,cuda:nccl"
    if environ.get("LOCAL_WORLD_SIZE") != environ["WORLD_SIZE"]:  # there are several hosts
        # gloo should use the interface that SageMaker names, if the host has it.
        name = environ.get("SM_NETWORK_INTERFACE_NAME", "")
        if name in dict(socket.if_nameindex()).values():
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
    try:
        dist.init_process_group(backend, timeout=_STEP_TIMEOUT)
        patient = dist.new_group(backend="gloo", timeout=_PREPARATION_TIMEOUT)
        yield Cluster(int(environ["RANK"]), size, local_rank, patient)  # type: ignore[arg-type]
    except RuntimeError as error:
        # torch raises plain RuntimeError from gloo, and subclasses of DistError from NCCL.
        words = ("gloo", "nccl", "connection closed", "timed out")
        if not (isinstance(error, dist.DistError) or any(w in str(error).lower() for w in words)):
            raise
        raise ClusterError(
            "lost contact with another process of the job: it failed, was killed or its host died;"
            f" see the logs of the other hosts ({error})"
        ) from error
    finally:
        if dist.is_initialized():
            time.sleep(0.2)  # torch 2.7 waits for gloo's threads with the GIL, which they may need
            dist.destroy_process_group()
