"""One thread for the small networks of the tests, which several would slow down; and the same numbers drawn.

Properties have the same examples in every run; `pytest --hypothesis-profile=default` draws others.
"""

import gc
import os
import signal
import sys
import threading

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


# `torch.manual_seed` keeps a stack trace for each kind of accelerator that is not there: more time than a small test.
seed = torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed


@pytest.fixture(autouse=True)
def _seeded():
    """What a test draws does not depend on the tests before it."""
    seed(0)


gc.disable()  # until all tests are collected: they and their modules stay
frozen_with = 0  # so many modules


def pytest_collection_finish():
    """The garbage collector passes over all that is there before the first test, half a second each time."""
    global frozen_with
    frozen_with = len(sys.modules)
    gc.freeze()
    gc.enable()


def pytest_runtest_logfinish():
    """And over what was imported since, such as the compiler."""
    global frozen_with
    if len(sys.modules) > frozen_with + 100:
        frozen_with = len(sys.modules)
        gc.collect()
        gc.freeze()


if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has started the tests in the background
