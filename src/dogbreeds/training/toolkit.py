"""What sagemaker-training's `train` calls, by ``SAGEMAKER_TRAINING_MODULE``, instead of its own.

It runs the user's script in script mode and our training program otherwise, and adds what the
stock entry point lacks: signals reach the program, the failure file tells the reason, and
impossible hyperparameters stop the job before anything heavy is imported.
"""

import os
import signal
from pathlib import Path
from types import FrameType

import psutil
from sagemaker_training import entry_point, environment, errors

from dogbreeds.architectures import ModelError
from dogbreeds.training.settings import Settings, SettingsError, resolve_weights

_PROGRAM_DIR = Path(__file__).parent / "program"
_PROGRAM = "train.py"


def main() -> None:
    """Run the training job that the ``/opt/ml`` tree describes.

    Raises:
        sagemaker_training.errors.ClientError: The job failed. `train` then writes the message to
            ``output/failure``, unless the program wrote its own reason there, and exits with 1.
    """
    signal.signal(signal.SIGTERM, _forward_to_children)
    env = environment.Environment()
    if len(env.hosts) <= 1:
        # The toolkit waits up to 15 minutes for the host's own name to resolve, which it never
        # does in a container without a network. A job of one host needs no names.
        os.environ["SM_STUDIO_LOCAL_MODE"] = "true"
    try:
        if env.user_entry_point:  # script mode
            entry_point.run(
                env.module_dir,
                env.user_entry_point,
                env.to_cmd_args(),
                env.to_env_vars(),
                capture_error=True,  # the user's traceback becomes the failure reason
            )
        else:
            settings = _check_hyperparameters(env)
            entry_point.run(str(_PROGRAM_DIR), _PROGRAM, settings.to_arguments(), env.to_env_vars())
    except errors.ExecuteUserScriptError as error:
        raise _explained(error) from error


def _check_hyperparameters(env: environment.Environment) -> Settings:
    try:
        settings = Settings.from_mapping(env.hyperparameters)
        channel = env.channel_input_dirs.get("weights")
        resolve_weights(settings, Path(channel) if channel else None)
    except (SettingsError, ModelError) as error:
        raise errors.ClientError(str(error)) from error
    return settings


def _explained(error: errors.ExecuteUserScriptError) -> errors.ClientError:
    """Name the cause where the program was killed and could not do so itself."""
    if error.return_code == str(-signal.SIGKILL):
        return errors.ClientError(
            "the training process was killed (signal 9), most likely because memory ran out:"
            " choose a smaller batch-size or an instance with more memory"
        )
    return error


def _forward_to_children(signum: int, frame: FrameType | None) -> None:
    """Pass SIGTERM on: `train` is process 1 of the container, the program is its child."""
    for child in psutil.Process().children():
        child.send_signal(signum)
