"""wnrl.uncompiled: compiled functions are called again afterwards, whatever other threads do."""

import threading

import pytest
import torch

from wnrl.uncompiled import uncompiled


def called():
    """Whether a compiled function is, and not the function itself."""
    seen = []

    def noted(graph, inputs):
        seen.append(1)
        return graph.forward

    torch.compiler.reset()
    torch.compile(lambda x: x + 1, backend=noted)(torch.ones(1))
    return bool(seen)


def test_within_it_nothing_is_compiled_and_afterwards_as_before():
    assert called()
    with uncompiled():
        assert not called()
        with uncompiled():
            assert not called()
        assert not called()
    assert called()


def test_an_error_leaves_it():
    with pytest.raises(KeyError), uncompiled():
        raise KeyError
    assert called()


def test_two_threads_leave_it_in_any_order():
    """The second one still needs it when the first one leaves."""
    first, second = threading.Event(), threading.Event()

    def other():
        with uncompiled():
            first.set()
            assert second.wait(10)

    thread = threading.Thread(target=other)
    with uncompiled():
        thread.start()
        assert first.wait(10)
    assert not called()
    second.set()
    thread.join()
    assert called()
