import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from agents.runtime.signals import SIGNALS, URGENT, WARNINGS, StopSignal, leaving_at_once, leaving_within
from tests.scripts.processes import SCRIPTS


@pytest.fixture(autouse=True)
def default_handlers():
    """As of a process in the foreground of a terminal."""
    usual = dict.fromkeys(SIGNALS, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def handlers():
    return {number: signal.getsignal(number) for number in SIGNALS}


def changed(before):
    return {number for number, handler in handlers().items() if handler != before[number]}


def test_the_signals_are_those_of_the_system():
    names = (
        {"SIGINT", "SIGTERM", "SIGBREAK"} if os.name == "nt" else {"SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"}
    )
    assert {number.name for number in SIGNALS} == names


def test_without_a_signal():
    before = handlers()
    with StopSignal() as stop:
        assert changed(before) == {*SIGNALS}
        assert not stop()
    assert handlers() == before
    assert stop.exit_code == 0


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_to_stop_and_the_exit_code_names_it(number):
    before = handlers()
    with StopSignal() as stop:
        signal.raise_signal(number)
        assert stop()
        assert changed(before) == ({*WARNINGS} if number in URGENT else {*SIGNALS})  # a second one stops at once
    assert handlers() == before
    assert stop.exit_code == 128 + number
    assert stop.exit_code == {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}.get(number.name, 128 + number)


def test_a_second_ctrl_c_stops_at_once():
    def press_twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with StopSignal(), pytest.raises(KeyboardInterrupt):
        press_twice()


@pytest.mark.skipif(os.name == "nt", reason="POSIX")
def test_warnings_come_twice_and_before_the_end():
    """A terminal and its shell both send SIGHUP; SLURM sends SIGTERM some time after its SIGUSR1."""
    with StopSignal() as stop:
        for number in (signal.SIGUSR1, signal.SIGUSR1, signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
            signal.raise_signal(number)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert stop.received == signal.SIGUSR1


def test_under_torchrun_nothing_stops_at_once():
    with StopSignal(again=False) as stop:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
    assert stop.received == signal.SIGINT


@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_ignored_stays_ignored(number):
    signal.signal(number, signal.SIG_IGN)
    before = handlers()
    with StopSignal() as stop:
        signal.raise_signal(number)
        assert changed(before) == {*SIGNALS} - {number}
        assert not stop()
    assert handlers() == before


def test_a_handler_of_another_library_is_left_alone(monkeypatch):
    real = signal.getsignal
    monkeypatch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGTERM else real(number))
    with StopSignal():
        assert real(signal.SIGTERM) is signal.SIG_DFL
        assert real(signal.SIGINT) is not signal.default_int_handler
    assert real(signal.SIGTERM) is signal.SIG_DFL


def test_in_another_thread_there_are_no_handlers():
    before, seen = handlers(), []

    def look():
        with StopSignal() as stop:
            seen.append((handlers() == before, stop()))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [(True, False)]


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


HELD_UP = """
import signal, sys, time
from agents.runtime.signals import StopSignal, leaving_within
with StopSignal() as stop, leaving_within(float(sys.argv[1]), "gave up"):
    print("ready", flush=True)
    time.sleep(float(sys.argv[2]))  # goes on after a signal, as a library's calls do
print("left", stop.exit_code, flush=True)
time.sleep(float(sys.argv[3]))
"""


def held_up(within, held, number, after=0):
    """What is printed, the exit code, the error output and the seconds after a signal."""
    command = [sys.executable, "-c", HELD_UP, str(within), str(held), str(after)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    begun = time.monotonic()
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    return out, child.returncode, err, time.monotonic() - begun


@pytest.mark.skipif(os.name == "nt", reason="other signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_process_that_is_held_up_ends(number):
    out, code, err, took = held_up(0.3, 60, number)
    assert (out, code, err) == ("", 128 + number, "gave up\n")
    assert took < 30


@pytest.mark.skipif(os.name == "nt", reason="other signals")
def test_one_that_is_not_held_up_long_ends_by_itself():
    assert held_up(2, 0.2, signal.SIGTERM, after=2.2)[:3] == ("left 143\n", 0, "")


def test_without_a_signal_nothing_ends_and_the_wakeup_stays_as_it_was():
    before = signal.set_wakeup_fd(-1)
    with leaving_within(0.0, "gave up"):
        assert signal.set_wakeup_fd(-1) != -1
    assert signal.set_wakeup_fd(before) == before == -1
    thread = threading.Thread(target=lambda: leaving_within(0.0, "gave up").__enter__())
    thread.start()
    thread.join()
    assert signal.set_wakeup_fd(-1) == -1
