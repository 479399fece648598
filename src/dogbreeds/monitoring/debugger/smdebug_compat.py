"""smdebug made to work with current protobuf and numpy; the project imports its names from here.

Its last release, 1.0.34, is from 2023. Its files stay unchanged.
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
_MESSAGES = (  # each comes after those that it imports
    "types", "tensor_shape", "resource_handle", "tensor", "attr_value", "versions", "node_def",
    "graph", "summary", "event",
)  # fmt: skip


def _load_messages() -> None:
    """Create smdebug's protobuf modules from the serialized descriptors in their source.

    Code that protoc before 3.19 generated does not import with protobuf 4 and later, but protobuf's
    own builder still accepts its descriptors. ModuleNotFoundError if smdebug is not installed.
    """
    found = importlib.util.find_spec("smdebug")  # does not import it
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
    # `import package.module as name` reads the attribute.
    vars(importlib.import_module(_PACKAGE)).update(modules)


os.environ.setdefault("SMDEBUG_LOG_LEVEL", "warning")  # it logs a lot in every job
# Skip the wait, once needed for S3, for the last files of a finished trial.
os.environ.setdefault("SMDEBUG_TRAINING_END_DELAY_REFRESH", "0")
_load_messages()
try:
    importlib.import_module("pyinstrument_cext")
except ImportError:  # Python 3.13 lacks what it calls; smdebug imports it for a profiler of its own
    _stand_in: Any = types.ModuleType("pyinstrument_cext")
    _stand_in.setstatprofile = None
    sys.modules[_stand_in.__name__] = _stand_in

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
    """An array with the method that numpy 2.3 removed."""

    def tostring(self) -> bytes:
        return self.tobytes()


_make_tensor_proto = _writer.make_tensor_proto
_writer.make_tensor_proto = lambda nparray_data, tag: _make_tensor_proto(
    np.asarray(nparray_data).view(_Array), tag
)


class _Thread(_event_files._EventLoggerThread):  # type: ignore[misc]
    """The writer thread, which originally dies on a full disk: the next tensor waits forever."""

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
