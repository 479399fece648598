"""Every exception of the package has one root, and its docstring shows the whole tree."""

import ast
import re
from pathlib import Path

import dogbreeds
from dogbreeds.system import errors


def exceptions() -> dict[str, set[str]]:
    """Return the names of all public exceptions of the package, with those of their bases."""
    found = {}
    for file in Path(dogbreeds.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and re.fullmatch(r"[^_]\w*Error", node.name):
                found[node.name] = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    return found


def test_all_exceptions_derive_from_the_root_and_stand_in_its_tree() -> None:
    found = exceptions()
    root = found.pop("DogbreedsError")
    assert root == {"Exception"}
    for name, bases in found.items():
        assert bases & {"DogbreedsError", *found}, name
    assert errors.__doc__ is not None
    shown = set(re.findall(r"\b\w+Error\b", errors.__doc__)) - {"DogbreedsError", "ValueError"}
    assert found.keys() == shown
