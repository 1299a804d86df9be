import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from envs import EnvironmentFault, Gym
from tests.envs.faulty import Faulty, play, reset_all

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")


def make(fault="", **kwargs):
    return Gym(Faulty, 4, env_kwargs={"fault": fault, **kwargs}, vectorization="async")


def closes(environment):
    """Close within seconds, leaving no process behind."""
    processes, began = list(environment._env.processes), time.monotonic()
    environment.close()
    assert time.monotonic() - began < 5
    assert not any(process.is_alive() for process in processes)


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        ("killed", r"its process was ended by SIGKILL, perhaps for want of memory"),
        ("exit", "its process ended with exit code 3"),
    ],
)
@pytest.mark.parametrize("at", [1, 3])
def test_a_process_that_dies_is_named_within_seconds(fault, detail, at):
    environment, began = make(fault, at=at), time.monotonic()
    with pytest.raises(EnvironmentFault, match=f"^environment 2 is gone: {detail}$"):
        play(environment)
    assert time.monotonic() - began < 5
    closes(environment)


def test_a_process_that_is_killed_between_two_steps():
    environment = make()
    reset_all(environment)
    os.kill(environment._env.processes[1].pid, signal.SIGKILL)
    environment._env.processes[1].join()
    with pytest.raises(EnvironmentFault, match=r"^environment 1 is gone: its process was ended by SIGKILL"):
        environment.step(np.zeros(4, int))
    closes(environment)


def test_the_first_of_several_errors_is_raised_and_the_rest_can_be_closed():
    class Raising(Faulty):
        def step(self, action):
            if self.index:
                raise ValueError(f"of {self.index}")
            return super().step(action)

    environment = Gym(Raising, 3, vectorization="async")
    reset_all(environment)
    for _ in range(2):  # that environment is gone
        with pytest.raises(
            EnvironmentFault, match=r"^environment 1 failed: ValueError: of 1 \(test_processes.py, line"
        ):
            environment.step(np.zeros(3, int))
    closes(environment)


def test_infos_that_cannot_be_sent_are_named():
    class Talking(Faulty):
        def step(self, action):
            return *super().step(action)[:4], {"why": (lambda: 0) if self.index == 1 else 0}

    environment = Gym(Talking, 3, vectorization="async")
    reset_all(environment)
    with pytest.raises(EnvironmentFault, match=r"^environment 1 failed: .*(pickle|Can't get) local object"):
        environment.step(np.zeros(3, int))
    closes(environment)


def test_a_process_that_cannot_begin_is_refused():
    class Unmade(Faulty):
        def __init__(self, pid):
            super().__init__()
            if os.getpid() != pid:
                os._exit(1)

    with pytest.raises(ValueError, match=r"^Unmade: EOFError|^Unmade: ConnectionResetError|^Unmade: BrokenPipeError"):
        Gym(Unmade, 2, vectorization="async", env_kwargs={"pid": os.getpid()})


def test_why_a_process_cannot_make_its_environment_is_told():
    class Port(Faulty):
        def __init__(self, pid):
            super().__init__()
            if os.getpid() != pid:
                raise OSError("port in use")

    before = set(multiprocessing.active_children())
    reason = r"^Port: environment 0 cannot be made in its process: cannot make Port: OSError: port in use \(test_proc"
    with pytest.raises(ValueError, match=reason):
        Gym(Port, 2, vectorization="async", env_kwargs={"pid": os.getpid()})
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.skipif(os.name == "nt", reason="POSIX")
def test_signals_for_the_run_do_not_end_its_processes(monkeypatch):
    monkeypatch.setattr("envs.processes._GRACE", 1)
    environment = make()
    reset_all(environment)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        for process in environment._env.processes:
            os.kill(process.pid, number)
    assert environment.step(np.zeros(4, int)).reward.tolist() == [1.0] * 4
    for process in environment._env.processes:
        process.join(10)
        assert process.exitcode == -signal.SIGALRM  # without a run that closes them
    closes(environment)
