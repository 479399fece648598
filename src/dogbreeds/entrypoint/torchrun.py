"""Starts a program on all GPUs of all hosts by torchrun."""

import signal
import sys
from collections.abc import Sequence
from typing import Any

from sagemaker_training import environment, errors, logging_config, process
from sagemaker_training.torch_distributed import TorchDistributedRunner

from dogbreeds.system.processes import die_with_parent


class Torchrun(TorchDistributedRunner):  # type: ignore[misc]  # sagemaker-training has no types
    """sagemaker-training's torchrun runner: one process per GPU, or per host without GPUs.

    The original takes the first ``torchrun`` on the PATH, which in a virtual environment on a
    base image is that of the base's Python, and swaps two arguments of `run`, so that failures
    go unnoticed unless errors are captured.
    """

    @classmethod
    def of(cls, env: environment.Environment, program: str, arguments: Sequence[str]) -> "Torchrun":
        """Return the runner for a job, whose hosts rendezvous on the first one."""
        return cls(
            program, list(arguments), env.to_env_vars(), max(1, env.num_gpus), env.master_hostname,
            env.distribution_hosts, env.current_host, env.network_interface_name,
            env.current_instance_type,
        )  # fmt: skip

    def _create_command(self) -> list[str]:
        command: list[str] = super()._create_command()
        at = command.index("torchrun")
        return [*command[:at], sys.executable, "-m", "torch.distributed.run", *command[at + 1 :]]

    def run(self, wait: bool = True, capture_error: bool = False) -> Any:  # noqa: ANN401
        """Run the program to its end; `wait` is ignored, the toolkit passes it.

        Raises:
            sagemaker_training.errors.ExecuteUserScriptError: The program failed.
        """
        command = self._create_command()
        logging_config.log_script_invocation(command, self._env_vars)
        return process.check_error(
            command, errors.ExecuteUserScriptError, self._processes_per_host,
            capture_error=capture_error, cwd=environment.code_dir,
            preexec_fn=lambda: die_with_parent(signal.SIGTERM),
        )  # fmt: skip
