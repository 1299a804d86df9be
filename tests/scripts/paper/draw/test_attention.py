import math

import pytest
import torch
from paper.draw.attention import FilterBank, Window, gaussian_filters

HEIGHT, WIDTH, FILTERS = 6, 9, 3


def random_outputs():
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def naive_filters(centre, stride, variance, size, filters):
    """Equations 19, 25 and 26 in loops, with i and the pixels counted from 1."""
    rows = []
    for i in range(1, filters + 1):
        mean = centre + (i - filters / 2 - 0.5) * stride
        row = [math.exp(-((a - mean) ** 2) / (2 * variance)) for a in range(1, size + 1)]
        rows.append([weight / max(sum(row), 1e-8) for weight in row])
    return rows


def test_filters_are_those_of_the_loops():
    window = Window.of(random_outputs(), HEIGHT, WIDTH, FILTERS)
    bank = FilterBank.of(window, HEIGHT, WIDTH, FILTERS)
    for index in range(4):
        variance, stride = window.variance[index].item(), window.stride[index].item()
        rows = naive_filters(window.centre_y[index].item(), stride, variance, HEIGHT, FILTERS)
        columns = naive_filters(window.centre_x[index].item(), stride, variance, WIDTH, FILTERS)
        torch.testing.assert_close(bank.rows[index], torch.tensor(rows).double())
        torch.testing.assert_close(bank.columns[index], torch.tensor(columns).double())


def test_reading_and_writing_are_those_of_the_loops():
    bank = FilterBank.of(Window.of(random_outputs(), HEIGHT, WIDTH, FILTERS), HEIGHT, WIDTH, FILTERS)
    images, patches = torch.randn(4, HEIGHT, WIDTH).double(), torch.randn(4, FILTERS, FILTERS).double()
    read = torch.einsum("bnh,bhw,bmw->bnm", bank.rows, images, bank.columns)
    written = torch.einsum("bnh,bnm,bmw->bhw", bank.rows, patches, bank.columns)
    torch.testing.assert_close(bank.read(images), read)
    torch.testing.assert_close(bank.write(patches), written)


def test_outputs_of_0_are_a_window_over_the_whole_image():
    """Of 5 × 9 pixels, with 3 filters: the centre is pixel (5, 3), and the stride reaches both ends of the columns."""
    window = Window.of(torch.zeros(1, 5), 5, 9, 3)
    assert [float(part) for part in window] == [5, 3, 1, 4, 1]


def test_a_window_of_narrow_filters_picks_pixels():
    """Three filters around pixel 2 of 4, a pixel apart."""
    two = torch.full((1,), 2.0)
    filters = gaussian_filters(two, torch.ones(1), torch.full((1,), 1e-3), 4, 3)
    torch.testing.assert_close(filters[0], torch.eye(4)[:3])


def test_filters_sum_to_1_and_those_far_outside_to_nothing():
    inside = gaussian_filters(torch.tensor([2.0]), torch.tensor([1.0]), torch.tensor([1.0]), 5, 2)
    torch.testing.assert_close(inside.sum(2), torch.ones(1, 2))
    centre = torch.tensor([1e4], requires_grad=True)
    outside = gaussian_filters(centre, torch.tensor([1.0]), torch.tensor([1.0]), 5, 2)
    outside.sum().backward()
    assert torch.equal(outside, torch.zeros(1, 2, 5))
    assert centre.grad.isfinite()


@pytest.mark.parametrize("number", range(5))
def test_each_output_moves_its_own_part_of_the_window(number):
    outputs = torch.zeros(1, 5)
    outputs[0, number] = 0.5
    moved, still = Window.of(outputs, 6, 9, 3), Window.of(0 * outputs, 6, 9, 3)
    changed = [not torch.equal(*parts) for parts in zip(moved, still, strict=True)]
    assert changed == [index == number for index in range(5)]
