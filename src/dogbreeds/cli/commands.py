"""The verbs of ``dogbreeds`` that work on AWS, in the order in which help shows them."""

from typing import Any

from dogbreeds.cli import account, data, endpoints, jobs, photos, watch


def register(verbs: Any) -> None:  # noqa: ANN401  (argparse's type is private)
    """Add the verbs to the command line."""
    photos.register(data.register(verbs))
    account.register(verbs)
    jobs.register(verbs)
    endpoints.register(verbs)
    watch.register(verbs)
