import pytest
import torch

from wnrl.tracking.means import Means


def metrics(a, b):
    return {"a": torch.tensor(a), "b": torch.tensor(b)}


def test_means_since_the_last_reading():
    means = Means()
    assert means.read() == {}
    means.add(metrics(1.0, 10))
    means.add(metrics(2.0, 30))
    assert means.read() == {"a": 1.5, "b": 20.0}
    assert means.read() == {}
    means.add(metrics(7.0, 0))
    assert means.read() == {"a": 7.0, "b": 0.0}


def test_means_keep_no_graph():
    means, loss = Means(), torch.ones((), requires_grad=True)
    means.add({"loss": loss * 2})
    assert not means.get_state()["sums"].requires_grad


def test_means_keep_their_own_numbers():
    means, value = Means(), torch.tensor(1.0)
    means.add({"a": value})
    value.fill_(99)
    assert means.read() == {"a": 1.0}


@pytest.mark.parametrize("before", [0, 1, 2])
def test_means_go_on_from_their_state(before):
    whole, part = Means(), Means()
    for means in (whole, part):
        for index in range(before):
            means.add(metrics(float(index), 1.0))
    rest = Means()
    rest.set_state(part.get_state())
    for means in (whole, rest):
        means.add(metrics(5.0, 3.0))
    assert rest.read() == whole.read()


def test_means_that_a_device_added_go_on_on_the_host():
    means = Means()
    means.set_state({"names": ["a", "b"], "sums": torch.tensor([1.0, 4.0]), "count": 1})  # as older versions kept them
    means.add(metrics(3.0, 8))
    assert means.read() == {"a": 2.0, "b": 6.0}


def test_a_small_value_counts_beside_a_large_sum():
    means = Means()
    means.add({"a": torch.tensor(2.0**24)})
    means.add({"a": torch.tensor(1.0)})
    assert means.read() == {"a": (2.0**24 + 1) / 2}


def test_other_metrics_after_a_reading():
    means = Means()
    means.add(metrics(1.0, 2))
    means.read()
    means.add({"c": torch.tensor(5.0)})
    assert means.read() == {"c": 5.0}
