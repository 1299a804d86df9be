import os
import signal

import pytest
import torch
from rate_study.parallel import in_parallel


def number_of_threads(number):
    return number, torch.get_num_threads(), os.getpid()


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_each_is_done_once_with_one_thread(jobs):
    before = torch.get_num_threads()
    done = list(in_parallel(number_of_threads, range(3), jobs))
    assert sorted(number for number, _, _ in done) == [0, 1, 2]
    assert {threads for _, threads, _ in done} == {1}
    assert (os.getpid() in {process for _, _, process in done}) == (jobs == 1)
    assert torch.get_num_threads() == before


def test_what_is_done_comes_before_the_next_is_begun():
    begun = []
    for number in in_parallel(lambda number: begun.append(number) or number, range(3), 1):
        assert begun == list(range(number + 1))


def killed(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_process_that_is_killed_is_one_line():
    with pytest.raises(ValueError, match=r"a process of the study was killed, .* the same command goes on"):
        list(in_parallel(killed, range(2), 2))


def test_there_must_be_a_job():
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        in_parallel(number_of_threads, range(3), 0)
