"""The verbs of ``dogbreeds`` that work on AWS, in the order in which help shows them."""

from typing import Any

from dogbreeds.cloud import account_verbs, data_verbs, endpoint_verbs, job_verbs, watch_verbs
from dogbreeds.data import commands as data_commands


def register(verbs: Any) -> None:  # noqa: ANN401  (argparse's type is private)
    """Add the verbs to the command line."""
    data_verbs.register(data_commands.register(verbs))
    account_verbs.register(verbs)
    job_verbs.register(verbs)
    endpoint_verbs.register(verbs)
    watch_verbs.register(verbs)
