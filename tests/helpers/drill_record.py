"""The type of the fixture `record`, which adds a line to the table of drills."""

from collections.abc import Callable

Record = Callable[[str, str, str, float], None]
"""Takes the fault, what happened, what was lost, and the seconds until all was well again."""
