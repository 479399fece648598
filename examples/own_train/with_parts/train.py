"""A loop of one's own from this project's parts; what it saves is served as any artifact of ours.

It keeps: photos that cannot be read are reported, pixels are cached, several GPUs or hosts
(torchrun) share the work, an interrupted job resumes, SIGTERM saves and ends it.
"""

import torch
from torch.nn import functional as F  # noqa: N812

from dogbreeds.data.folders import find_photos
from dogbreeds.job_output.metrics import metrics_line
from dogbreeds.model import artifact, networks
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.training.checkpoint import load_checkpoint, save_checkpoint
from dogbreeds.training.device import Device
from dogbreeds.training.distributed import join_cluster
from dogbreeds.training.evaluation import evaluate
from dogbreeds.training.paths import JobPaths
from dogbreeds.training.photos import load_photos
from dogbreeds.training.settings import Settings
from dogbreeds.training.stop import StopRequest

settings, paths, stop = Settings.from_environment(), JobPaths.from_environment(), StopRequest()
classes, splits = find_photos(paths.splits)
preprocessing = Preprocessing(settings.image_size, settings.image_size)
with join_cluster() as cluster:
    device = Device.best(cluster.local_rank)
    report = paths.output_data / "photos.json"
    photos = load_photos(splits, classes, preprocessing, settings, device, cluster, stop, report)
    model = networks.create_model(settings.model, len(classes)).to(device.device)
    optimizer = torch.optim.AdamW(model.parameters(), settings.lr)
    identity = {"model": settings.model, "classes": [list(item) for item in classes]}
    state = load_checkpoint(paths.checkpoints, identity) or {"epoch": 0}
    if state["epoch"]:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    parallel = cluster.wrap(model)
    for epoch in range(state["epoch"], settings.epochs):
        model.train()
        order = torch.randperm(len(photos["train"]), generator=torch.Generator().manual_seed(epoch))
        steps = [cluster.part(step) for step in order.split(settings.batch_size)]
        for pixels, targets in photos["train"].batches(steps):
            loss = F.cross_entropy(parallel(preprocessing.normalize(pixels)), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found = evaluate(
            model.eval(), photos["valid"], device, settings.batch_size, cluster=cluster
        )
        if cluster.is_main:
            values = {"train_loss": loss.item(), "valid_accuracy": found.accuracy}
            print(metrics_line(epoch + 1, values), flush=True)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"epoch": epoch + 1, "identity": identity}
            save_checkpoint(paths.checkpoints, epoch + 1, state)
        if any(cluster.collect(stop.received)):
            break
    if cluster.is_main:
        trained = artifact.Artifact(model.eval(), settings.model, classes, preprocessing)
        artifact.save(trained, paths.model)
