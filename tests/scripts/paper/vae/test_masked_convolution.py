import pytest
import torch
from paper.vae.masked_convolution import MaskedConv2d, causal_mask

import wnrl


def test_the_mask_of_three_channels_by_hand():
    mask = causal_mask(3, 3, 3, strict=True, kernel_size=3)
    assert mask[:, :, 0].unique().tolist() == [1]  # the row above
    assert mask[:, :, 1, 0].unique().tolist() == [1]  # the pixel before
    assert mask[:, :, 1, 1].tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
    assert mask[:, :, 1, 2].unique().tolist() == [0]
    assert mask[:, :, 2].unique().tolist() == [0]
    assert causal_mask(3, 3, 3, strict=False, kernel_size=3)[:, :, 1, 1].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_groups_divide_channels_in_order():
    mask = causal_mask(2, 6, 2, strict=False, kernel_size=1)[:, :, 0, 0]
    assert mask.tolist() == [[1, 0]] * 3 + [[1, 1]] * 3


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="must be odd, got 2"):
        causal_mask(1, 1, 1, strict=True, kernel_size=2)


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_masked_weights_are_0_through_initialization_and_training(norm):
    """So that a row's length is that of the weights that count."""
    torch.manual_seed(0)
    layer = MaskedConv2d(2, 6, 2, strict=True)
    network = wnrl.normalize(torch.nn.Sequential(layer), norm)
    images = torch.randn(20, 2, 5, 5)
    wnrl.data_init(network, images)
    before = network(images)
    assert (layer.weight[layer.mask == 0] != 0).any()  # the initialization knows no mask
    layer.clear_masked()
    torch.testing.assert_close(network(images), before)
    optimizer = torch.optim.Adamax(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        network(images).square().sum().backward()
        optimizer.step()
    assert not torch.allclose(network(images), before)
    stored = layer.v if norm == "weight" else layer.weight
    assert (stored[layer.mask == 0] == 0).all()
    assert (stored[layer.mask == 1] != 0).all()


def test_a_new_layer_has_no_masked_weights_and_no_mask_in_its_state():
    layer = MaskedConv2d(2, 4, 2, strict=False)
    assert (layer.weight[layer.mask == 0] == 0).all()
    assert set(layer.state_dict()) == {"weight", "bias"}
