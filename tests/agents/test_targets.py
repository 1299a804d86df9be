import pytest
import torch

from agents.targets import double_q_target, q_target

REWARD = torch.tensor([1.0, -1.0, 0.5, 2.0])
DISCOUNT = torch.tensor([0.9, 0.9, 0.0, 0.81])  # the third terminated, the last is of two steps
LEARNER = torch.tensor([[5.0, 1.0], [0.0, 3.0], [9.0, 9.5], [1.0, 0.0]])
TARGET = torch.tensor([[2.0, 4.0], [-1.0, -2.0], [7.0, 8.0], [10.0, 20.0]])


def test_q_target_takes_the_greatest_value():
    torch.testing.assert_close(q_target(REWARD, DISCOUNT, TARGET), torch.tensor([4.6, -1.9, 0.5, 18.2]))


def test_double_q_target_takes_the_value_of_the_learners_choice():
    values = double_q_target(REWARD, DISCOUNT, LEARNER, TARGET)
    torch.testing.assert_close(values, torch.tensor([2.8, -2.8, 0.5, 10.1]))


def test_double_equals_plain_where_both_choose_alike():
    torch.testing.assert_close(
        double_q_target(REWARD, DISCOUNT, 3 * TARGET + 1, TARGET), q_target(REWARD, DISCOUNT, TARGET)
    )


def test_a_terminal_row_ignores_what_comes_after():
    wild = torch.full((4, 2), 1e9)
    assert q_target(REWARD, torch.zeros(4), wild).tolist() == REWARD.tolist()


@pytest.mark.parametrize(
    ("reward", "discount", "learner", "target"),
    [
        ((4,), (4,), (4,), (4,)),
        ((4,), (4,), (4, 2), (4, 3)),
        ((4, 1), (4, 1), (4, 2), (4, 2)),
        ((4,), (1,), (4, 2), (4, 2)),
        ((3,), (3,), (4, 2), (4, 2)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(reward, discount, learner, target):
    with pytest.raises(ValueError, match=r"\[B"):
        double_q_target(*(torch.zeros(shape) for shape in (reward, discount, learner, target)))
