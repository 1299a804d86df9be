"""Gymnasium's environments in processes of their own, of which one may fail or die."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv
from gymnasium.vector.async_vector_env import AsyncState, _async_worker

from envs.faults import EnvironmentFault
from envs.makers import one_line

_PATIENCE = 5.0  # seconds for a process that has closed its connection to end


_GRACE = 5  # seconds that a process goes on after SIGTERM


class Processes(AsyncVectorEnv):
    """`AsyncVectorEnv`, whose processes that fail or die raise `EnvironmentFault` with their index; it can be closed
    after that."""

    _died = False
    _raised: EnvironmentFault | None = None

    def __init__(self, env_fns: Sequence[Callable[[], gymnasium.Env]], **options: Any) -> None:
        try:
            super().__init__(env_fns, worker=_work, **options)
        except BaseException:
            if hasattr(self, "_state"):  # the processes have begun
                self.close(terminate=True)
            raise

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        with self._while_alive():
            return super().reset(**options)

    def step_async(self, actions: np.ndarray) -> None:
        with self._while_alive():
            super().step_async(actions)

    def step_wait(self, timeout: float | None = None) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        with self._while_alive():
            return super().step_wait(timeout)

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        waiting = self._state is AsyncState.WAITING_STEP and not self._died
        if waiting and not terminate:  # for a step that nobody asks for any more
            with suppress(EnvironmentFault):
                self.step_wait(timeout)
        if not terminate and not self._died:
            try:
                super().close_extras(timeout)
            except (EOFError, ConnectionError):  # one has died since its last step
                pass
            else:
                return
        self._state = AsyncState.DEFAULT  # else it would wait for an answer of that process
        for process in self.processes:
            process.kill()
        super().close_extras(terminate=True)

    @contextmanager
    def _while_alive(self) -> Iterator[None]:
        if self._raised is not None:
            raise EnvironmentFault(*self._raised.args)
        try:
            yield
        except (EOFError, ConnectionError) as error:
            self._died = True
            raise self._fault() from error

    def _fault(self) -> EnvironmentFault:
        ended = wait([process.sentinel for process in self.processes], _PATIENCE)
        if not ended:
            return EnvironmentFault(None, "has closed its connection")
        index = min(index for index, process in enumerate(self.processes) if process.sentinel in ended)
        self.processes[index].join(_PATIENCE)
        code = self.processes[index].exitcode
        if code is None or code >= 0:
            return EnvironmentFault(index, "is gone", f"its process ended with exit code {code}")
        name = signal.Signals(-code).name
        memory = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return EnvironmentFault(index, "is gone", f"its process was ended by {name}{memory}")

    def _raise_if_errors(self, successes: Iterable[bool]) -> None:
        """Gymnasium's own prints the tracebacks of all processes, and raises the last error without its index."""
        errors = [self.error_queue.get() for success in successes if not success]
        if not errors:
            return
        for index, *_ in errors:
            self.parent_pipes[index].close()
            self.parent_pipes[index] = None  # type: ignore[call-overload]
        self._state = AsyncState.DEFAULT
        index, kind, value, trace = min(errors, key=lambda error: error[0])
        fault = value if isinstance(value, EnvironmentFault) else None
        if fault is None:
            fault = EnvironmentFault(index, "failed", f"{kind.__name__}: {one_line(value)}")
        self._raised = fault
        raise fault from RuntimeError(f"in its process:\n{trace}")


def _work(
    index: int, make: Callable[[], Any], pipe: Any, parent_pipe: Any, memory: Any, errors: Any, *rest: Any
) -> None:
    """Gymnasium's loop of a process, which reports an environment that it cannot make as other errors."""
    try:
        env = make()
    except Exception as error:
        parent_pipe.close()
        pipe.recv()  # the first question, which the parent would otherwise write to a closed pipe
        fault = EnvironmentFault(index, "cannot be made in its process", one_line(error))
        errors.put((index, EnvironmentFault, fault, traceback.format_exc()))
        pipe.send((None, False))
    else:
        _async_worker(index, lambda: env, pipe, parent_pipe, memory, errors, *rest)


def leave_signals_to_the_run() -> None:
    """Let this process, of an environment, outlive the signals that ask a run and all its processes to stop.

    The run finishes its step and closes its environments; SIGTERM ends the process some seconds later.
    """
    for name in ("SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_GRACE))
