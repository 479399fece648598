"""Every exception of the package has one root, and its docstring shows the whole tree."""

import importlib
import pkgutil
import re

import dogbreeds
from dogbreeds.system import errors


def names_of_exceptions() -> set[str]:
    names = set()
    for module in pkgutil.walk_packages(dogbreeds.__path__, "dogbreeds."):
        if ".program" in module.name or "debugger" in module.name:
            continue  # these need a job's environment, or patch smdebug when imported
        for value in vars(importlib.import_module(module.name)).values():
            if (
                isinstance(value, type)
                and issubclass(value, Exception)
                and value.__module__.startswith("dogbreeds.")
                and value.__name__.endswith("Error")
            ):
                assert issubclass(value, errors.DogbreedsError), value
                names.add(value.__name__)
    return names


def test_all_exceptions_derive_from_the_root_and_stand_in_its_tree() -> None:
    assert errors.__doc__ is not None
    shown = set(re.findall(r"\b\w+Error\b", errors.__doc__)) - {"ValueError", "TrialError"}
    assert names_of_exceptions() == shown
