#!/bin/sh
# Entry point of both images: makes CUDA usable, then execs the program, which is then PID 1 and
# receives SageMaker's signals directly.
set -eu

# Only needed if the container has a GPU. SageMaker's newer hosts no longer mount CUDA's
# compatibility libraries into the container, so whether they are needed is decided here.
if [ -e /dev/nvidiactl ] && [ -r /proc/driver/nvidia/version ]; then
    compat=$(python3 /opt/dogbreeds/cuda_compat.py /proc/driver/nvidia/version /usr/local/cuda)
    if [ -n "$compat" ]; then
        export LD_LIBRARY_PATH="$compat${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    fi
fi

exec "$@"
