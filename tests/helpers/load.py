"""Clients that ask a server without a pause."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from helpers.serving_process import Answer, ServingProcess, photo


class Load:
    """Requests without a pause from some clients, until told to stop."""

    def __init__(self, server: ServingProcess, clients: int) -> None:
        self._server = server
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(clients)
        self.answers: list[tuple[float, Answer]] = []
        self._clients = [self._pool.submit(self._run) for _ in range(clients)]

    def _run(self) -> None:
        body = photo()
        while not self._stop.is_set():
            answer = self._server.invoke(body)
            self.answers.append((time.monotonic(), answer))
            if answer.status != 200:
                time.sleep(0.1)  # as Retry-After asks, in short

    def stop(self) -> Counter[int]:
        self._stop.set()
        for client in self._clients:
            client.result(60)  # raises what the client met, such as a dropped connection
        self._pool.shutdown()
        return Counter(answer.status for _, answer in self.answers)

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, whatever the clients meet, such as a server that is gone."""
        self._stop.set()
        self._pool.shutdown()
