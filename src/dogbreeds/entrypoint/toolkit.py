"""What sagemaker-training's `train` calls, by ``SAGEMAKER_TRAINING_MODULE``, instead of its own.

It runs the user's script in script mode and our training program otherwise, and adds what the
stock entry point lacks: signals reach the program, the failure file tells the reason, impossible
hyperparameters stop the job before anything heavy is imported, and torchrun starts the program
where there are several GPUs or hosts (`dogbreeds.entrypoint.torchrun`).
"""

import os
import signal
import tarfile
from pathlib import Path
from types import FrameType

import psutil
from sagemaker_training import entry_point, environment, errors
from sagemaker_training.process import ProcessRunner
from sagemaker_training.runner import RunnerType

from dogbreeds.data.folders import find_channels
from dogbreeds.entrypoint.failure import one_line
from dogbreeds.entrypoint.stderr_tail import StderrTail
from dogbreeds.entrypoint.torchrun import Torchrun
from dogbreeds.system.errors import DogbreedsError
from dogbreeds.training.paths import JobPaths
from dogbreeds.training.settings import Settings, SettingsError, check_compiler, resolve_weights

_PROGRAM_DIR = Path(__file__).parent / "program"
_PROGRAM = "train.py"
_ASKED = "sagemaker_torch_distributed_enabled"


def main() -> None:
    """Run the training job that the ``/opt/ml`` tree describes.

    Raises:
        sagemaker_training.errors.ClientError: The job failed. `train` then writes the message to
            ``output/failure``, unless the program wrote its own reason there, and exits with 1.
    """
    try:
        _main(_ForwardStop(), environment.Environment())
    except (DogbreedsError, OSError) as error:
        raise errors.ClientError(one_line(str(error))) from error


def _main(stop: "_ForwardStop", env: environment.Environment) -> None:
    if len(env.hosts) <= 1:
        # The toolkit waits up to 15 minutes for the host's own name to resolve, which it never
        # does in a container without a network. A job of one host needs no names.
        os.environ["SM_STUDIO_LOCAL_MODE"] = "true"
    try:
        if env.user_entry_point:
            _run_users_script(env)
        else:
            settings = _check_hyperparameters(env)
            entry_point.run(
                str(_PROGRAM_DIR),
                _PROGRAM,
                settings.to_arguments(),
                env.to_env_vars(),
                runner_type=_runner(env, _PROGRAM, settings.to_arguments(), ask=False),
            )
    except errors.ExecuteUserScriptError as error:
        failure = JobPaths.from_environment().failure
        if stop.forwarded and not failure.exists() and not env.user_entry_point:
            return  # torchrun counts its own end by SIGTERM as a failure
        raise _explained(error) from error


def _run_users_script(env: environment.Environment) -> None:
    """Script mode: the script's own error becomes the failure reason.

    Raises:
        SettingsError: There is no such script.
    """
    try:
        with StderrTail() as tail:
            entry_point.run(
                env.module_dir,
                env.user_entry_point,
                env.to_cmd_args(),
                env.to_env_vars(),
                runner_type=_runner(env, env.user_entry_point, env.to_cmd_args(), ask=True),
            )
    except (errors.ExecuteUserScriptError, tarfile.TarError, OSError) as error:
        if not Path(environment.code_dir, env.user_entry_point).is_file():
            found = (
                ", ".join(sorted(p.name for p in Path(environment.code_dir).iterdir())[:10])
                or "an empty folder"
            )
            raise SettingsError(
                f"expected the script {env.user_entry_point} (sagemaker_program) in"
                f" {env.module_dir} (sagemaker_submit_directory), found {found}: {error}"
            ) from error
        if not isinstance(error, errors.ExecuteUserScriptError):
            raise
        if error.return_code == str(-signal.SIGKILL) or not tail.reason():
            raise
        raise errors.ClientError(
            f"{tail.reason()}\n({env.user_entry_point} ended with exit code {error.return_code})"
        ) from error


def _runner(
    env: environment.Environment, program: str, arguments: list[str], *, ask: bool
) -> ProcessRunner | RunnerType:
    """Choose what starts a program: torchrun, or nothing in between.

    Args:
        env: The job.
        program: The script.
        arguments: Its arguments.
        ask: Whether several processes must be asked for, as the SageMaker SDK does with
            ``distribution={"torch_distributed": {"enabled": True}}``: a user's script may not
            expect them.
    """
    asked = str(env.additional_framework_parameters.get(_ASKED, "")).lower() == "true"
    if asked or (not ask and (len(env.hosts) > 1 or env.num_gpus > 1)):
        return Torchrun.of(env, program, arguments)
    return RunnerType.Process


def _check_hyperparameters(env: environment.Environment) -> Settings:
    settings = Settings.from_mapping(env.hyperparameters)
    check_compiler(settings)
    channels = {name: Path(folder) for name, folder in env.channel_input_dirs.items()}
    find_channels(channels)
    resolve_weights(settings, channels.get("weights"))
    return settings


def _explained(error: errors.ExecuteUserScriptError) -> errors.ClientError:
    """Name the cause where the program was killed and could not do so itself."""
    if error.return_code == str(-signal.SIGKILL):
        return errors.ClientError(
            "the training process was killed (signal 9), most likely because memory ran out:"
            " choose a smaller batch-size or an instance with more memory"
        )
    if "torch.distributed.run" in error.cmd and not error.output:
        return errors.ClientError(
            "a training process of this host ended without giving a reason; torchrun's report in"
            " the log tells how (exitcode -9: killed, most likely because memory ran out)"
        )
    return error


class _ForwardStop:
    """Passes SIGTERM on: `train` is process 1 of the container, the program is its child.

    Attributes:
        forwarded: Whether it came.
    """

    def __init__(self) -> None:
        self.forwarded = False
        signal.signal(signal.SIGTERM, self._forward)

    def _forward(self, signum: int, frame: FrameType | None) -> None:
        self.forwarded = True
        for child in psutil.Process().children():
            child.send_signal(signum)
