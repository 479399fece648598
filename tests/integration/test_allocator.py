import subprocess
import sys

# Counts the pages that the kernel must provide while a large tensor is made 20 times.
PROGRAM = """
import resource, torch
from dogbreeds.system.resources import keep_freed_memory
{call}
def make():
    torch.ones(12_000_000)
for _ in range(20):  # the heap finds its size in the first rounds
    make()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    make()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(call: str) -> int:
    program = PROGRAM.format(call=call)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return int(done.stdout)


def test_memory_that_was_freed_is_used_again() -> None:
    pages = 20 * 48_000_000 // 4096
    assert page_faults("keep_freed_memory()") < 0.02 * pages


def test_without_asking_the_kernel_provides_it_anew() -> None:
    assert page_faults("") > 20  # huge pages make few faults of many
