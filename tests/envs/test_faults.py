import pickle

import pytest

from envs import EnvironmentFault


@pytest.mark.parametrize(
    ("index", "what", "detail", "step", "line"),
    [
        (2, "returned a reward of nan", "", 1234, "environment 2 returned a reward of nan at step 1,234"),
        (0, "failed", "ZeroDivisionError: x", 57, "environment 0 failed at step 57: ZeroDivisionError: x"),
        (0, "failed", "ZeroDivisionError: x", None, "environment 0 failed: ZeroDivisionError: x"),
        (None, "failed", "", 0, "an environment failed at step 0"),
    ],
)
def test_a_fault_is_one_line_in_every_process(index, what, detail, step, line):
    fault = EnvironmentFault(index, what, detail)
    fault.step = step
    assert str(fault) == line
    again = pickle.loads(pickle.dumps(fault))
    assert (str(again), again.index, again.what, again.step) == (line, index, what, step)
    assert isinstance(fault, RuntimeError)
