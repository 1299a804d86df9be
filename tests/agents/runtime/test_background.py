"""agents.runtime.background: one piece of work beside the run, whose error is told."""

import os
import signal
import threading

import pytest
import torch

from agents.runtime.background import Background

CPU = torch.device("cpu")


def test_work_goes_on_beside_the_run_until_it_is_ended():
    background, go, done = Background(CPU), threading.Event(), []
    background.begin(lambda: (go.wait(10), done.append(threading.current_thread())))
    assert background.works
    assert not done
    go.set()
    background.end()
    assert not background.works
    assert done != [threading.current_thread()]
    background.end()  # there is none


@pytest.mark.skipif(os.name != "posix", reason="POSIX")
def test_a_wait_that_is_interrupted_leaves_the_work_as_it_was():
    """Python 3.11's join of a thread takes it for ended then."""
    background, go, done = Background(CPU), threading.Event(), []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        background.begin(lambda: (go.wait(10), done.append(1)))
        threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            background.end()
    finally:
        signal.signal(signal.SIGINT, before)
    assert background.works
    assert not done
    go.set()
    background.end()
    assert done == [1]


def test_what_the_work_raised_is_raised_once_and_other_work_may_follow():
    background, done = Background(CPU), []
    background.begin(lambda: {}["lost"])
    with pytest.raises(KeyError, match="lost"):
        background.end()
    background.end()
    background.begin(lambda: done.append(1))
    background.end()
    assert done == [1]


def test_a_program_does_not_wait_for_the_work():
    background, go = Background(CPU), threading.Event()
    background.begin(go.wait)
    assert background._thread.daemon
    go.set()
    background.end()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_work_has_a_stream_and_sees_what_was_launched():
    device = torch.device("cuda", torch.cuda.current_device())
    background, x, seen = Background(device), torch.zeros(10**7, device=device), []
    for _ in range(100):
        x += 1
    background.begin(lambda: seen.append((x.clone().min().item(), torch.cuda.current_stream(device))))
    background.end()
    ((least, stream),) = seen
    assert least == 100
    assert stream != torch.cuda.current_stream(device)
