"""What sagemaker-training's `train` calls, by ``SAGEMAKER_TRAINING_MODULE``, instead of its own.

It runs the user's script or our training program, and adds what the stock entry point lacks:
signals reach the program, the failure file tells the reason, invalid hyperparameters stop the job
before anything heavy is imported, and several GPUs or hosts get torchrun.
"""

import contextlib
import os
import signal
import sys
import tarfile
import time
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
from sagemaker_training import entry_point, environment, errors, logging_config, process
from sagemaker_training.runner import RunnerType
from sagemaker_training.torch_distributed import TorchDistributedRunner

from dogbreeds.data.folders import find_channels
from dogbreeds.entrypoint.failure import StderrTail, one_line
from dogbreeds.system.errors import DogbreedsError
from dogbreeds.system.processes import die_with_parent
from dogbreeds.training.paths import JobPaths
from dogbreeds.training.settings import Settings, SettingsError, check_compiler, resolve_weights

# The original imports smdebug, and so PyTorch: 2 seconds, and half a gigabyte beside the program.
process.get_debugger_exception_classes = list


def main() -> None:
    """Run the training job that the ``/opt/ml`` tree describes.

    If it fails, `train` writes the message of the ClientError that this raises to
    ``output/failure``, unless the program wrote its own reason there, and exits with 1.
    """
    stop = _ForwardStop()
    try:
        env = environment.Environment()
        if len(env.hosts) <= 1:
            # The toolkit waits up to 15 minutes for the host's own name to resolve, which it never
            # does in a container without a network. A single-host job needs no names.
            os.environ["SM_STUDIO_LOCAL_MODE"] = "true"
        if env.user_entry_point:
            _run_users_script(env)
        else:
            _check_hyperparameters(env)
            _run(env, str(Path(__file__).parent / "program"), "train.py", [])
    except errors.ExecuteUserScriptError as error:
        failure = JobPaths.from_environment().failure
        if stop.forwarded and not failure.exists() and not env.user_entry_point:
            return  # torchrun reports SIGTERM as a failure
        raise _explained(error) from error
    except (DogbreedsError, OSError) as error:
        raise errors.ClientError(one_line(str(error))) from error


def _run_users_script(env: environment.Environment) -> None:
    """Script mode: the script's own error becomes the failure reason."""
    script = env.user_entry_point
    try:
        with StderrTail() as tail:
            _run(env, env.module_dir, script, env.to_cmd_args())
    except (errors.ExecuteUserScriptError, tarfile.TarError, OSError) as error:
        if not Path(environment.code_dir, script).is_file():
            files = sorted(path.name for path in Path(environment.code_dir).iterdir())[:10]
            raise SettingsError(
                f"expected the script {script} (sagemaker_program) in {env.module_dir}"
                f" (sagemaker_submit_directory), found {', '.join(files) or 'an empty folder'}:"
                f" {error}"
            ) from error
        if not isinstance(error, errors.ExecuteUserScriptError):
            raise
        if error.return_code == str(-signal.SIGKILL) or not tail.reason():
            raise
        raise errors.ClientError(
            f"{tail.reason()}\n({script} ended with exit code {error.return_code})"
        ) from error


def _run(env: environment.Environment, folder: str, program: str, arguments: list[str]) -> None:
    """Run a program: by torchrun for several processes, otherwise directly.

    A user's script may not expect several processes, so it must request them, as the SageMaker SDK
    does with ``distribution={"torch_distributed": {"enabled": True}}``.
    """
    requested = env.additional_framework_parameters.get("sagemaker_torch_distributed_enabled")
    several = not env.user_entry_point and (len(env.hosts) > 1 or env.num_gpus > 1)
    runner = RunnerType.Process
    if several or str(requested).lower() == "true":
        runner = _Torchrun(
            program, list(arguments), env.to_env_vars(), max(1, env.num_gpus), env.master_hostname,
            env.distribution_hosts, env.current_host, env.network_interface_name,
            env.current_instance_type,
        )  # fmt: skip
    entry_point.run(folder, program, arguments, env.to_env_vars(), runner_type=runner)


def _check_hyperparameters(env: environment.Environment) -> None:
    settings = Settings.from_mapping(env.hyperparameters)
    check_compiler(settings)
    channels = {name: Path(folder) for name, folder in env.channel_input_dirs.items()}
    find_channels(channels)
    resolve_weights(settings, channels.get("weights"))


def _explained(error: errors.ExecuteUserScriptError) -> errors.ClientError:
    """Name the cause where the program was killed before it could do so."""
    if error.return_code == str(-signal.SIGKILL):
        return errors.ClientError(
            "the training process was killed (signal 9), most likely because memory ran out:"
            " choose a smaller batch-size or an instance with more memory"
        )
    if "torch.distributed.run" in error.cmd and not error.output:
        return errors.ClientError(
            "a training process on this host ended without giving a reason; see torchrun's report"
            " in the log (exitcode -9: killed, most likely because memory ran out)"
        )
    return error


class _ForwardStop:
    """Forwards SIGTERM: `train` is process 1 of the container, the program is its child."""

    def __init__(self) -> None:
        self.forwarded = False  # becomes True on SIGTERM
        signal.signal(signal.SIGTERM, self._forward)

    def _forward(self, signum: int, frame: FrameType | None) -> None:
        self.forwarded = True
        this = psutil.Process()
        if not (children := this.children()):  # it is not started yet
            print("Stopped before there was anything to save", flush=True)
            sys.exit(0)
        for child in children:
            with contextlib.suppress(psutil.Error):  # it has just ended
                while child.cmdline() == this.cmdline():
                    time.sleep(0.01)  # between fork and exec the signal would be lost
                child.send_signal(signum)


class _Torchrun(TorchDistributedRunner):  # type: ignore[misc]  # sagemaker-training has no types
    """sagemaker-training's torchrun runner: one process per GPU, or per host without GPUs.

    The original takes the first ``torchrun`` on the PATH, which in a virtual environment on a
    base image is that of the base's Python, and swaps two arguments of `run`, so that failures
    go unnoticed unless errors are captured.
    """

    def _create_command(self) -> list[str]:
        command: list[str] = super()._create_command()
        at = command.index("torchrun")
        if len(self._hosts) == 1:  # at a fixed port, two jobs on one host would meet
            command[at + 1 : at + 1] = ["--standalone", "--local_addr=localhost"]
        return [*command[:at], sys.executable, "-m", "torch.distributed.run", *command[at + 1 :]]

    def run(self, wait: bool = True, capture_error: bool = False) -> Any:  # noqa: ANN401
        """Run the program to its end, or raise ExecuteUserScriptError; `wait` is ignored."""
        command = self._create_command()
        logging_config.log_script_invocation(command, self._env_vars)
        return process.check_error(
            command, errors.ExecuteUserScriptError, self._processes_per_host,
            capture_error=capture_error, cwd=environment.code_dir,
            preexec_fn=lambda: die_with_parent(signal.SIGTERM),
        )  # fmt: skip
