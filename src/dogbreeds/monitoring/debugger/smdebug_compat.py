"""smdebug, made to work with today's protobuf and numpy; the project imports its names from here.

Its last release, 1.0.34, is of 2023. Nothing of it is changed on disk.
"""

import ast
import importlib
import importlib.util
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pool
from google.protobuf.internal import builder

_PACKAGE = "smdebug.core.tfevent.proto"
_MESSAGES = (  # each after those that it needs
    "types", "tensor_shape", "resource_handle", "tensor", "attr_value", "versions", "node_def",
    "graph", "summary", "event",
)  # fmt: skip


def _load_messages() -> None:
    """Make the modules of smdebug's protocol buffers from the descriptors in their source.

    Code that protoc before 3.19 generated does not import with protobuf 4 and later, while the
    serialised descriptors in it are what protobuf's own builder still takes.

    Raises:
        ModuleNotFoundError: smdebug is not installed.
    """
    found = importlib.util.find_spec("smdebug")  # looks for the package and imports nothing
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'smdebug'", name="smdebug")
    folder = Path(found.submodule_search_locations[0], "core", "tfevent", "proto")
    modules = {}
    for message in _MESSAGES:
        tree = ast.parse((folder / f"{message}_pb2.py").read_text())
        serialized = next(
            ast.literal_eval(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.keyword) and node.arg == "serialized_pb"
        )
        module: Any = types.ModuleType(f"{_PACKAGE}.{message}_pb2")
        module.DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(serialized)
        builder.BuildMessageAndEnumDescriptors(module.DESCRIPTOR, module.__dict__)
        builder.BuildTopDescriptorsAndMessages(module.DESCRIPTOR, module.__name__, module.__dict__)
        sys.modules[module.__name__] = modules[f"{message}_pb2"] = module
    # `import package.module as name` looks for the attribute.
    vars(importlib.import_module(_PACKAGE)).update(modules)


os.environ.setdefault("SMDEBUG_LOG_LEVEL", "warning")  # of what happens in every job it says a lot
# A second's wait for the last files of a finished trial, from when S3 was slow to show them.
os.environ.setdefault("SMDEBUG_TRAINING_END_DELAY_REFRESH", "0")
_load_messages()

from smdebug.core import writer as _writer  # noqa: E402
from smdebug.core.modes import ModeKeys  # noqa: E402
from smdebug.core.tfevent import event_file_writer as _event_files  # noqa: E402
from smdebug.exceptions import SMDebugError  # noqa: E402
from smdebug.pytorch import Hook  # noqa: E402
from smdebug.rules.rule import Rule  # noqa: E402
from smdebug.rules.rule_invoker import invoke_rule  # noqa: E402
from smdebug.trials import create_trial  # noqa: E402

__all__ = ["Hook", "ModeKeys", "Rule", "SMDebugError", "create_trial", "invoke_rule"]


class _Array(np.ndarray[Any, Any]):
    """An array with the method that numpy 2.3 has removed."""

    def tostring(self) -> bytes:
        return self.tobytes()


_make_tensor_proto = _writer.make_tensor_proto
_writer.make_tensor_proto = lambda nparray_data, tag: _make_tensor_proto(
    np.asarray(nparray_data).view(_Array), tag
)


class _Thread(_event_files._EventLoggerThread):  # type: ignore[misc]
    """The thread that writes a file of tensors, without its trap.

    The original dies of a full disk, and the next tensor then waits for it forever.
    """

    error: Exception | None = None

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            self.error = error
            while self._queue.get() is not self._sentinel_event:
                self._queue.task_done()
            self._queue.task_done()


class _EventFileWriter(_event_files.EventFileWriter):  # type: ignore[misc]
    def close(self) -> None:
        super().close()
        if self._worker.error:
            raise self._worker.error


_event_files._EventLoggerThread = _Thread
_writer.EventFileWriter = _EventFileWriter
