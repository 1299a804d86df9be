"""wnrl.host_memory: what the machine, control groups and limits leave a process."""

import subprocess
import sys

import psutil
import pytest

from wnrl import host_memory
from wnrl.host_memory import cgroups_left, free_host_memory

GB = 10**9
NO_LIMIT = 9223372036854771712  # as version 1 has it


def tree(folder, groups, own):
    """A folder like /sys/fs/cgroup, and a file like /proc/self/cgroup."""
    for name, files in groups.items():
        (folder / "cgroup" / name).mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (folder / "cgroup" / name / file).write_text(f"{text}\n")
    (folder / "own").write_text(own)
    return {"root": folder / "cgroup", "own": folder / "own"}


def v2(limit, usage, inactive=0):
    stat = f"anon 5\nfile 9\ninactive_file {inactive}\nactive_file 3"
    return {"memory.max": limit, "memory.current": usage, "memory.stat": stat}


def v1(limit, usage, inactive=0):
    stat = f"cache 5\ninactive_file 7\nhierarchical_memory_limit 1\ntotal_inactive_file {inactive}"
    return {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": usage, "memory.stat": stat}


ROOT = "0::/\n"
JOB = "0::/slurm/job_7/step_0\n"
BOTH = "4:memory:/slurm/job_7\n1:cpu:/\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "own", "left"),
    [
        ({".": {}}, ROOT, None),
        ({".": v2("max", 3 * GB)}, ROOT, None),
        ({".": v2(GB, GB // 4)}, ROOT, 3 * GB // 4),
        ({".": v2(GB, GB, 400_000_000)}, ROOT, 400_000_000),
        ({"slurm/job_7/step_0": v2(5 * GB, GB), "slurm/job_7": v2(4 * GB, 2 * GB), "slurm": v2("max", 0)}, JOB, 2 * GB),
        ({"slurm/job_7/step_0": v2("max", 0), "slurm/job_8": v2(1, 1)}, JOB, None),
        ({".": v2(GB, 0)}, "0::/docker/0123\n", GB),
        ({".": v2(GB, 0)}, "0::/../../docker/0123\n", GB),
        ({"unified": v2(GB, 0)}, ROOT, GB),
        ({"memory/slurm/job_7": v1(3 * GB, GB), "memory": v1(NO_LIMIT, 9 * GB)}, BOTH, 2 * GB),
        ({"memory/slurm/job_7": v1(3 * GB, 2 * GB, GB)}, "7:cpu,memory:/slurm/job_7\n", 2 * GB),
        ({"memory": v1(3 * GB, GB)}, "7:memory:/docker/0123\n", 2 * GB),
        ({"memory/a": v1(3 * GB, GB), ".": v2(GB, 0)}, "7:memory:/a\n0::/\n", GB),
        ({".": v2("many", 1)}, ROOT, None),
        ({".": {"memory.max": GB}}, ROOT, None),
        ({".": {"memory.max": GB, "memory.current": 1}}, ROOT, GB - 1),
    ],
)  # fmt: skip
def test_the_least_of_the_groups_round_a_process(groups, own, left, tmp_path):
    found = cgroups_left(**tree(tmp_path, groups, own))
    assert found == left or (found is not None and found > 2**60 and left is None)


def test_without_control_groups(tmp_path):
    assert cgroups_left(tmp_path, tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("groups", "space", "free"),
    [
        (None, None, 8 * GB),
        (3 * GB, None, 3 * GB),
        (None, GB, GB),
        (3 * GB, GB, GB),
        (9 * GB, None, 8 * GB),
        (-1, 5, 0),
    ],
)
def test_the_least_of_all(groups, space, free, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 8 * GB}))
    monkeypatch.setattr(host_memory, "cgroups_left", lambda: groups)
    monkeypatch.setattr(host_memory, "address_space_left", lambda: space)
    assert free_host_memory() == free


LIMITED = """
import resource
import numpy as np
from wnrl.host_memory import address_space_left, free_host_memory

assert address_space_left() is None
resource.setrlimit(resource.RLIMIT_AS, (6_000_000_000, resource.RLIM_INFINITY))
left = free_host_memory()
np.empty(left - 20_000_000, np.uint8)
try:
    np.empty(left + 20_000_000, np.uint8)
except MemoryError:
    print(left)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
@pytest.mark.skipif(psutil.virtual_memory().available < 7 * GB, reason="needs 7 GB of memory, of which none is used")
def test_what_is_left_of_the_address_space_is_what_can_be_allocated():
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 6 * GB
