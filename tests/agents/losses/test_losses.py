import pytest
import torch
from torch.nn import functional as F

from agents.losses.losses import huber, td_error


def test_td_error_is_the_target_minus_the_value_of_the_action_taken():
    q_values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [-1.0, 0.5, 0.0]])
    error = td_error(q_values, torch.tensor([2, 0, 1]), torch.tensor([2.5, 10.0, 0.5]))
    torch.testing.assert_close(error, torch.tensor([-0.5, 6.0, 0.0]))


def test_td_error_sends_its_gradient_to_the_action_taken_and_none_into_the_target():
    q_values, target = torch.zeros(2, 3, requires_grad=True), torch.ones(2, requires_grad=True)
    td_error(q_values, torch.tensor([1, 2]), target).sum().backward()
    assert q_values.grad.tolist() == [[0, -1, 0], [0, 0, -1]]
    assert target.grad is None


@pytest.mark.parametrize(
    ("q_values", "action", "target"),
    [((4,), (4,), (4,)), ((4, 2), (4, 1), (4,)), ((4, 2), (4,), (4, 1)), ((4, 2), (3,), (3,)), ((4, 2), (4,), (1,))],
)
def test_td_error_refuses_shapes_that_would_broadcast(q_values, action, target):
    with pytest.raises(ValueError, match=r"\[B, A\], \[B\], \[B\], got") as refusal:
        td_error(torch.zeros(q_values), torch.zeros(action, dtype=torch.int64), torch.zeros(target))
    assert str(target) in str(refusal.value)


def test_huber_by_hand():
    error = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
    torch.testing.assert_close(huber(error), torch.tensor([2.5, 0.5, 0.125, 0.0, 0.125, 0.5, 1.5]))
    torch.testing.assert_close(huber(error, 2.0), torch.tensor([4.0, 0.5, 0.125, 0.0, 0.125, 0.5, 2.0]))


@pytest.mark.parametrize("delta", [0.3, 1.0, 5.0])
def test_huber_is_torchs_and_its_gradient_the_clipped_error(delta):
    error = torch.linspace(-4, 4, 33, requires_grad=True)
    losses = huber(error, delta)
    torch.testing.assert_close(losses, F.huber_loss(error, torch.zeros(33), reduction="none", delta=delta))
    losses.sum().backward()
    torch.testing.assert_close(error.grad, error.detach().clamp(-delta, delta))
