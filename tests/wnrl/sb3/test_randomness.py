import random

import numpy as np
import pytest
import torch

from wnrl.sb3.randomness import same_randomness


def drawn():
    return random.random(), np.random.rand(), torch.rand(1).item()


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_drawn_in_it_is_not_missed_after_it(fails):
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = [drawn(), drawn()]
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    assert drawn() == expected[0]
    try:
        with same_randomness(torch.device("cpu")):
            assert drawn() == expected[1]
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert drawn() == expected[1]
