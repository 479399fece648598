"""``code/requirements.txt``: installed once at start, beside the present packages.

Packages go to a virtual environment of their own that sees all others. Present packages never
change: a new version only shadows the old one, and torch cannot be shadowed.
"""

import logging
import subprocess
import sys
import sysconfig
import time
import venv
from importlib import metadata
from pathlib import Path

from dogbreeds.serving.user_code.script import Script, ScriptError

logger = logging.getLogger(__name__)

# They depend on the base image (or the machine's driver) and on each other.
_FIXED = ("torch", "torchvision", "torchaudio")


def install(script: Script, folder: Path) -> Path | None:
    """Install what a script's ``requirements.txt`` lists, if there is one.

    Returns:
        The subfolder of `folder` to put first on the import path; None if nothing was installed.

    Raises:
        ScriptError: A package is missing and cannot be installed; the message names it.
    """
    required = script.folder / "requirements.txt"
    if not required.is_file():
        return None
    begin = time.monotonic()
    packages = folder / "packages"
    venv.create(packages, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(packages)}))
    visible = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (site / "visible.pth").write_text("".join(f"{path}\n" for path in visible))
    constraints = packages / "constraints.txt"
    fixed = [name for name in _FIXED if any(metadata.distributions(name=name))]
    constraints.write_text("".join(f"{name}=={metadata.version(name)}\n" for name in fixed))
    # Try without network first: in network isolation this names missing packages at once.
    for source in (["--no-index"], ["--retries", "2", "--timeout", "10"]):
        pip = subprocess.run(
            [packages / "bin/python", "-m", "pip", "install", "--quiet", "--progress-bar", "off",
             "--disable-pip-version-check", "--root-user-action", "ignore", "--no-input", *source,
             "--constraint", constraints, "--requirement", required],
            cwd=script.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if pip.returncode == 0:
            break
        errors = [line for line in pip.stderr.splitlines() if line.startswith("ERROR: ")]
        reason = (errors or pip.stderr.strip().splitlines() or ["pip failed"])[0]
    else:
        logger.error("%s", pip.stderr)
        raise ScriptError(
            f"cannot install {required}: {reason.removeprefix('ERROR: ')}; where there is no"
            " network, bake the packages into an image FROM this one"
        )
    found = sorted(f"{d.name} {d.version}" for d in metadata.distributions(path=[str(site)]))
    done = f"installed {', '.join(found)}" if found else "all packages are there"
    logger.info("%s: %s, in %.1f s", required, done, time.monotonic() - begin)
    return site if found else None
