"""Check, while an image is built, that its packages are the intended ones.

    python verify_packages.py LOCK_FILE ...

torch and torchvision, if the base image has them, must be its own, and everything in the lock files
must be there in its locked version, from the environment on top of the base, and must import.
"""

import importlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

KEPT = ("torch", "torchvision")

DESCRIBE = f"""
import importlib.util, json
present = [name for name in {KEPT!r} if importlib.util.find_spec(name)]
modules = [importlib.import_module(name) for name in present]
print(json.dumps([[module.__name__, module.__version__, module.__file__] for module in modules]))
"""


def describe(python: str) -> list[list[str]]:
    """Name, version and path of torch and torchvision as an interpreter sees them."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run(
        [python, "-c", DESCRIBE], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    description: list[list[str]] = json.loads(answer.stdout.splitlines()[-1])
    return description


def base_interpreter() -> str:
    """The interpreter that the environment was made from."""
    return str(Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}"))


def locked(lock_file: Path) -> dict[str, str]:
    """The packages of a lock file with their versions, without those for other systems."""
    lines = [line for line in lock_file.read_text().splitlines() if "sys_platform ==" not in line]
    return dict(re.findall(r"^([\w.-]+)==([\w.+!-]+)", "\n".join(lines), re.M))


def modules_of(distribution: importlib.metadata.Distribution) -> list[str]:
    """The importable packages and modules that a distribution brings, without its tests."""
    files = [PurePosixPath(str(file)) for file in distribution.files or ()]
    packages = {file.parent for file in files if file.name == "__init__.py"}
    outermost = {package for package in packages if not packages.intersection(package.parents)}
    plain = {
        PurePosixPath(file.name.split(".")[0])
        for file in files
        if len(file.parts) == 1 and file.suffix in (".py", ".so")
    }
    names = (".".join(path.parts) for path in outermost | plain if ".." not in path.parts)
    return sorted(name for name in names if name.split(".")[0] not in ("test", "tests"))


def problems_of(name: str, version: str) -> list[str]:
    """What is wrong with one locked package, in sentences."""
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return [f"{name}=={version} is locked, but not installed"]
    problems = []
    if distribution.version != version:
        problems.append(f"{name}: expected {version}, got {distribution.version}")
    for module in modules_of(distribution):
        try:
            importlib.import_module(module)
        except Exception as error:  # third-party code may fail in any way
            problems.append(f"{name}: import {module} fails: {error!r}")
    return problems


def main(lock_files: list[str]) -> int:
    """Print what was checked, or every problem."""
    ours, base = describe(sys.executable), describe(base_interpreter())
    problems = []
    if ours != base:
        problems.append(f"torch is not the base's any more: {ours} instead of {base}")
    packages: dict[str, str] = {}
    for lock_file in lock_files:
        packages |= locked(Path(lock_file))
    for name, version in packages.items():
        problems += problems_of(name, version)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if not problems:
        print(f"{len(packages)} locked packages import; kept from the base: {base}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
