"""agents.runtime.rendezvous: processes that are started by hand, one of them late."""

import os
import socket
import subprocess
import sys

import pytest

MEET = """
import sys
from datetime import timedelta
import torch.distributed as dist
from agents.runtime import rendezvous

rendezvous.PATIENCE = 0.5
print("ready", flush=True)
try:
    rendezvous.meet(timedelta(seconds=60))
except ValueError as error:
    sys.exit(str(error))
print("met", dist.get_rank(), "of", dist.get_world_size(), flush=True)
dist.barrier()
"""


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def start(rank, port, count=2):
    place = {"WORLD_SIZE": str(count), "RANK": str(rank), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    environment = {**os.environ, **place}
    environment.pop("TORCHELASTIC_USE_AGENT_STORE", None)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", MEET], text=True, env=environment, **pipes)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("early", "late", "said"), [(0, 1, "waiting for 1 more process at "), (1, 0, "waiting for the first process at ")]
)
def test_who_waits_says_for_whom(port, early, late, said):
    waiting = start(early, port)
    assert waiting.stderr.readline() == f"{said}localhost:{port}\n"
    other = start(late, port)
    for process, rank in ((waiting, early), (other, late)):
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, f"met {rank} of 2\n"), err
        assert said not in err


@pytest.mark.slow
def test_a_port_that_another_program_uses_is_refused():
    with socket.socket() as used:
        used.bind(("localhost", 0))
        used.listen()
        _, err = start(0, used.getsockname()[1]).communicate(timeout=60)
        assert "the processes cannot meet at localhost:" in err.splitlines()[-1]
