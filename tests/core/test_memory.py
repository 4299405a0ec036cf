"""Memory that is freed and asked for again."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys

if sys.argv[1] == "kept":
    from osad_bench.core.memory import keep_freed
    keep_freed()
bytes([1]) * int(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    bytes([1]) * int(sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_large_blocks_are_made_of_pages_that_were_freed_before():
    def faults(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, how, str(2**26)], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert 4 * faults("kept") < faults("plain")
