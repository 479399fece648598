"""The shell commands of README and docs."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[str]:
    """Return the lines of all shell blocks, each once."""
    text = "\n".join(page.read_text() for page in PAGES)
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return list(dict.fromkeys(line for block in blocks for line in block.splitlines()))
