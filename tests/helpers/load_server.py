"""Serve an artifact and keep the server busy: ``python load_server.py MODEL_DIR PHOTO SECONDS``."""

import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dogbreeds.local.server import predict, serving
from dogbreeds.system.ports import free_port


def main() -> None:
    model_dir, photo, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    with serving(model_dir, free_port(19080), Path("serve.log")) as server:
        deadline = time.monotonic() + seconds

        def ask(_: int) -> int:
            answers = 0
            while time.monotonic() < deadline:
                predict(server.url, photo)
                answers += 1
            return answers

        with ThreadPoolExecutor(4) as pool:
            print(f"{sum(pool.map(ask, range(4)))} answers")
        urllib.request.urlopen(f"{server.url}/metrics", timeout=10).close()


if __name__ == "__main__":
    main()
