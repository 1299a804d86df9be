import pytest
import torch

from agents.losses.shapes import check_shapes


@pytest.mark.parametrize(
    ("expected", "shapes"),
    [
        ("[B, A], [B]", [(4, 2), (4,)]),
        ("[]", [()]),
        ("[], [B], []", [(), (3,), ()]),
        ("[...], [...]", [(2, 3), (2, 3)]),
        ("[...], [B]", [(), (2,)]),
    ],
)
def test_these_fit(expected, shapes):
    check_shapes("formula", expected, *map(torch.zeros, shapes))


@pytest.mark.parametrize(
    ("expected", "shapes"),
    [
        ("[B, A], [B]", [(4, 2), (2,)]),  # a letter with two sizes
        ("[B, B]", [(4, 2)]),
        ("[B]", [(4, 1)]),  # a rank too many
        ("[B]", [()]),
        ("[]", [(1,)]),
        ("[...], [...]", [(2, 3), (3, 2)]),
        ("[...], [...]", [(), (1,)]),
    ],
)
def test_these_do_not_and_the_message_shows_what_came(expected, shapes):
    with pytest.raises(ValueError, match="formula takes shapes") as refusal:
        check_shapes("formula", expected, *map(torch.zeros, shapes))
    assert str(refusal.value) == f"formula takes shapes {expected}, got {', '.join(map(str, shapes))}"


@pytest.mark.parametrize("count", [1, 3])
def test_each_shape_is_of_one_tensor(count):
    with pytest.raises(ValueError, match="zip"):
        check_shapes("formula", "[B], [B]", *[torch.zeros(4)] * count)


def test_it_reads_no_values_and_is_compiled_away():
    @torch.compile(backend="eager", fullgraph=True)
    def formula(x, y):
        check_shapes("formula", "[B, A], [B]", x, y)
        return x.sum(1) + y

    assert formula(torch.ones(2, 3), torch.ones(2)).tolist() == [4, 4]
