"""A script's functions; the toolkit's defaults replace missing ones."""

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from dogbreeds.serving.user_code import defaults
from dogbreeds.serving.user_code.script import ScriptError

Function = Callable[..., Any]


class Functions:
    """The functions of a script; all of them take MMS's context as their last argument.

    Args:
        module: The script, or None for the defaults alone.

    Attributes:
        model_fn: ``(model_dir, context)``
        pre_model_fn, model_warmup_fn: ``(model_dir, context)`` and ``(model_dir, model, context)``,
            called before and after `model_fn`; None where there is none.
        transform_fn: ``(model, data, content_type, accept, context)``, or None: the next three are
            used instead.
        input_fn: ``(data, content_type, context)``
        predict_fn: ``(data, model, context)``
        batch_predict_fn: ``(list of data, model, context)``, to a list of predictions; or None.
        output_fn: ``(prediction, accept, context)``

    Raises:
        ScriptError: A function takes another number of arguments, or the script has `transform_fn`
            and one of the functions that it replaces.
    """

    def __init__(self, module: ModuleType | None) -> None:
        def own(name: str, arguments: int) -> Function | None:
            function = getattr(module, name, None)
            return _with_context(function, arguments) if function else None

        self.pre_model_fn = own("pre_model_fn", 1)
        self.model_fn = own("model_fn", 1) or _with_context(defaults.model_fn, 1)
        self.model_warmup_fn = own("model_warmup_fn", 2)
        self.transform_fn = own("transform_fn", 4)
        self.input_fn = own("input_fn", 2) or _with_context(defaults.input_fn, 2)
        self.predict_fn = own("predict_fn", 2) or _with_context(defaults.predict_fn, 2)
        self.batch_predict_fn = own("batch_predict_fn", 2)
        self.output_fn = own("output_fn", 2) or _with_context(defaults.output_fn, 2)
        steps = ("input_fn", "predict_fn", "batch_predict_fn", "output_fn")
        beside = [name for name in steps if hasattr(module, name)]
        if self.transform_fn and beside:
            raise ScriptError(
                f"expected transform_fn without {', '.join(beside)}, whose work it does, got both"
            )


def _with_context(function: Function, arguments: int) -> Function:
    signature = inspect.signature(function)
    for takes_context in (True, False):
        try:
            signature.bind(*range(arguments + takes_context))
        except TypeError:
            continue
        return function if takes_context else lambda *values: function(*values[:-1])
    raise ScriptError(
        f"expected {function.__name__} with {arguments} arguments, or one more for the context,"
        f" got {function.__name__}{signature}"
    )
