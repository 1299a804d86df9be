import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from envs.serial import Serial
from tests.envs.own import Own


def test_rows_are_those_of_gymnasium():
    """Three environments out of step with each other, over several episodes of 7 steps."""
    own, twin = (kind([Own] * 3, autoreset_mode=AutoresetMode.NEXT_STEP) for kind in (Serial, SyncVectorEnv))
    rng, held = np.random.default_rng(0), []
    for vector in (own, twin):
        vector.reset(seed=[1, 2, 3])
        vector.envs[1].reset(seed=2)
        vector.envs[0].step(1)
        vector.envs[2].step(1)
        vector.envs[2].step(1)
    ends = np.zeros(3, int)
    for _ in range(40):
        action = rng.integers(0, 2, 3)
        rows, others = own.step(action), twin.step(action)
        for row, other in zip(rows[:4], others[:4], strict=True):
            np.testing.assert_array_equal(row, other, strict=True)
        held.append((rows, [field.copy() for field in rows[:4]]))
        ends += rows[2] | rows[3]
    assert (ends >= 4).all()
    for rows, copies in held:
        for row, copy in zip(rows[:4], copies, strict=True):
            np.testing.assert_array_equal(row, copy)


def test_resets_that_are_pending_come_with_the_next_step():
    vector = Serial([Own] * 3, autoreset_mode=AutoresetMode.NEXT_STEP)
    vector.reset(seed=[1, 2, 3])
    vector.step(np.ones(3, int))
    vector.pend(np.array([False, True, False]))
    assert vector.step(np.ones(3, int))[1].tolist() == [1, 0, 1]
    assert [env.steps for env in vector.envs] == [2, 0, 2]
    assert vector.step(np.ones(3, int))[1].tolist() == [1, 1, 1]
