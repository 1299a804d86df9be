"""wnrl.autocast: what stays in its own type, on any device."""

import pytest
import torch

from wnrl.autocast import without_autocast
from wnrl.networks.q_network import Architecture, q_network
from wnrl.normalizers.normalize import NORMALIZERS


def test_operations_keep_their_type():
    x = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x).dtype is torch.bfloat16
        with without_autocast(x):
            assert (x @ x).dtype is torch.float32


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_networks_tell_their_shapes_on_the_meta_device(norm):
    with torch.device("meta"):
        network = q_network((4, 40, 40), 3, architecture=Architecture(dueling=True), norm=norm)
        obs = torch.zeros(2, 4, 40, 40, dtype=torch.uint8)
    for training in (True, False):
        q_values = network.train(training)(obs).q_values
        assert (q_values.shape, q_values.device.type) == ((2, 3), "meta")
