import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from agents.runtime.signals import SIGNALS, StopSignal, leaving_at_once
from tests.scripts.processes import SCRIPTS


def handlers():
    return [signal.getsignal(number) for number in SIGNALS]


def test_without_a_signal():
    before = handlers()
    with StopSignal() as stop:
        assert handlers() != before
        assert not stop()
    assert handlers() == before
    assert stop.exit_code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_asks_to_stop_and_the_exit_code_names_it(number, code):
    before = handlers()
    with StopSignal() as stop:
        os.kill(os.getpid(), number)
        assert stop()
        assert handlers() == before  # a second one stops at once
    assert handlers() == before
    assert stop.exit_code == code


def test_a_second_ctrl_c_stops_at_once():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may ignore it

    def press_twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    try:
        with StopSignal(), pytest.raises(KeyboardInterrupt):
            press_twice()
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_come_back_after_an_error():
    before = handlers()

    def fail():
        with StopSignal():
            raise RuntimeError("x")

    with pytest.raises(RuntimeError, match="x"):
        fail()
    assert handlers() == before


def test_only_the_chosen_signals_are_taken():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with StopSignal(signals=(signal.SIGINT,)):
        assert signal.getsignal(signal.SIGINT) is not before[signal.SIGINT]
        assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]
    with StopSignal(signals=()) as stop:
        assert {number: signal.getsignal(number) for number in SIGNALS} == before
        assert not stop()
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


IMPORTING = """
import signal, sys, time
from agents.runtime.signals import leaving_at_once

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
with leaving_at_once():
    print("importing", flush=True)
    try:
        time.sleep(60)
    except BaseException:  # as an import may do with KeyboardInterrupt
        sys.exit("caught")
"""


def test_ctrl_c_during_an_import_ends_the_process_without_a_word():
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", IMPORTING], text=True, **pipes)
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    assert (process.communicate(timeout=60)[1], process.returncode) == ("", 130)


def test_afterwards_and_where_another_handler_is_set_ctrl_c_is_as_before(request):
    before = signal.default_int_handler
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, before)))
    with leaving_at_once():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    with StopSignal() as stop, leaving_at_once():
        signal.raise_signal(signal.SIGINT)
    assert stop.received == signal.SIGINT


@pytest.mark.slow
@pytest.mark.parametrize("script", ["train_dqn", "train_sb3", "evaluate", "benchmark"])
def test_ctrl_c_while_a_script_is_imported(script, tmp_path):
    """From the first import of a command on: `-X importtime` says when that has begun."""
    arguments = {"evaluate": ["nowhere"], "benchmark": ["start"]}.get(script, ["--env", "CartPole-v1"])
    command = [sys.executable, "-X", "importtime", str(SCRIPTS / f"{script}.py"), *arguments]
    default = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=default
    )
    for line in process.stderr:
        if line.endswith("| agents.runtime.signals\n"):
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    errors = [line for line in err.splitlines() if not line.startswith("import time:")]
    assert (process.returncode, out, errors) == (130, "", [])
    assert list(tmp_path.iterdir()) == []
