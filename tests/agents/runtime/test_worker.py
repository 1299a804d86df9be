"""agents.runtime.worker: pieces of work in one thread beside the run."""

import gc
import os
import signal
import threading

import pytest
import torch

from agents.runtime.worker import Worker

CPU = torch.device("cpu")


def test_work_goes_on_beside_the_run_until_it_is_ended_always_in_the_same_thread():
    worker, go, done = Worker(CPU), threading.Event(), []
    worker.begin(lambda: (go.wait(10), done.append(threading.current_thread())))
    assert not done
    go.set()
    worker.end()
    worker.end()  # there is none
    worker.begin(lambda: done.append(threading.current_thread()))
    worker.end()
    assert done[0] is done[1] is not threading.current_thread()


def test_what_the_work_raised_is_raised_once_and_other_work_may_follow():
    worker, done = Worker(CPU), []
    worker.begin(lambda: {}["lost"])
    with pytest.raises(KeyError, match="lost"):
        worker.end()
    worker.end()
    worker.begin(lambda: done.append(1))
    worker.end()
    assert done == [1]


@pytest.mark.skipif(os.name != "posix", reason="POSIX")
def test_a_wait_that_is_interrupted_leaves_the_work_as_it_was():
    worker, go, done = Worker(CPU), threading.Event(), []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        worker.begin(lambda: (go.wait(10), done.append(1)))
        threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            worker.end()
    finally:
        signal.signal(signal.SIGINT, before)
    assert not done
    go.set()
    worker.end()
    assert done == [1]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_work_has_as_many_threads_of_torch_as_who_begins_it(threads):
    worker, before, found = Worker(CPU), torch.get_num_threads(), []
    worker.begin(lambda: found.append(torch.get_num_threads()))
    worker.end()
    try:
        torch.set_num_threads(threads)
        worker.begin(lambda: found.append(torch.get_num_threads()))
        worker.end()
    finally:
        torch.set_num_threads(before)
    assert found == [before, threads]


def test_the_thread_ends_with_the_worker():
    worker, found = Worker(CPU), []
    worker.begin(lambda: found.append(threading.current_thread()))
    worker.end()
    del worker
    gc.collect()
    found[0].join(10)
    assert not found[0].is_alive()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_work_and_who_begins_it_see_what_the_other_launched():
    device = torch.device("cuda", torch.cuda.current_device())
    worker, x, streams = Worker(device), torch.zeros(10**7, device=device), []

    def add():
        streams.append(torch.cuda.current_stream(device))
        for _ in range(100):
            x.add_(1)

    for _ in range(3):
        for _ in range(100):
            x.add_(1)
        worker.begin(add)
        worker.end()
    assert (x.min().item(), x.max().item()) == (600, 600)
    assert streams[0] == streams[1] == streams[2] != torch.cuda.current_stream(device)
