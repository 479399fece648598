"""What the processes of a job do to reach each other, started in torchrun's variables."""

import json
import os
import time

import torch
import torch.distributed as dist


def main() -> None:
    on_gpu = torch.cuda.is_available()
    rank = int(os.environ["LOCAL_RANK"])
    if on_gpu:
        torch.cuda.set_device(rank)
    # As `join_cluster`, which does not make a group of a single process.
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    device = torch.device("cuda", rank) if on_gpu else torch.device("cpu")
    total = torch.tensor([rank + 1.0], device=device)
    dist.all_reduce(total)
    values: list[int | None] = [None] * dist.get_world_size()
    dist.all_gather_object(values, rank, group=dist.new_group(backend="gloo"))  # type: ignore[arg-type]
    assert values == list(range(len(values)))
    block = torch.zeros(16 * 2**20, device=device)  # float32: 64 MB, ResNet-18's gradients are 45
    for _ in range(2):  # the first connects
        started = time.perf_counter()
        dist.all_reduce(block)
        if on_gpu:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    if rank == 0:
        backend = "nccl" if on_gpu else "gloo"
        rate = block.nbytes / seconds / 1e9
        print(json.dumps({"backend": backend, "sum": total.item(), "gigabytes_per_second": rate}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
