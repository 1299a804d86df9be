import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from envs.preprocessing import Preprocessing
from envs.rows import Rows, as_rows, count_of
from tests.envs.own import Parts, of

BOX = spaces.Box(-1, 1, (3,), np.float64)
IMAGE = spaces.Box(0, 255, (8, 9, 3), np.uint8)
BITS = spaces.Box(0, 1, (10, 10, 4), np.bool_)
TUPLE = spaces.Tuple([spaces.Discrete(2, start=5), BOX])
SPACES = [BOX, IMAGE, BITS, TUPLE, spaces.Discrete(4, start=-1), Parts.observation_space, spaces.MultiDiscrete([2, 3])]


def rows_of(space, **options):
    preprocessing = Preprocessing(**options)
    seen = preprocessing(of(space)()).observation_space
    return Rows(space, preprocessing, seen.shape, np.dtype(np.uint8 if len(seen.shape) == 3 else np.float32))


@pytest.mark.parametrize("space", SPACES)
def test_rows_are_what_the_wrapped_environment_shows(space):
    rows, env = rows_of(space), Preprocessing()(of(space)())
    seen = env.reset(seed=3)[0]
    space.seed(3)
    raw = space.sample()
    row, single = rows(raw)
    assert single
    np.testing.assert_array_equal(row, np.asarray(seen)[None].astype(row.dtype), strict=True)


@pytest.mark.parametrize("space", SPACES)
def test_a_batch_is_that_of_each(space):
    rows = rows_of(space)
    batch = batch_space(space, 5)
    batch.seed(1)
    raw = batch.sample()
    several, single = rows(raw)
    assert (len(several), single) == (5, False)
    if isinstance(space, spaces.Dict):
        third = {key: part[2] for key, part in raw.items()}
    else:
        third = tuple(part[2] for part in raw) if isinstance(space, spaces.Tuple) else raw[2]
    np.testing.assert_array_equal(several[2:3], rows(third)[0], strict=True)


@pytest.mark.parametrize("space", SPACES)
def test_rows_pass(space):
    rows = rows_of(space)
    row = rows(space.sample())[0]
    np.testing.assert_array_equal(rows(np.repeat(row, 4, 0))[0], np.repeat(row, 4, 0), strict=True)
    assert rows(row[0])[1]


def test_a_stack_takes_its_rows_alone():
    rows = rows_of(IMAGE, stack=4)
    assert rows(np.zeros((12, 8, 9), np.uint8))[0].shape == (1, 12, 8, 9)
    assert rows(np.zeros((2, 12, 8, 9), np.uint8))[0].shape == (2, 12, 8, 9)
    said = r"^observations must be .12, 8, 9. or .N, 12, 8, 9., got .8, 9, 3.: with stack 4, one frame is not enough$"
    with pytest.raises(ValueError, match=said):
        rows(IMAGE.sample())


@pytest.mark.parametrize(
    "space",
    [spaces.Box(0, 1, (3, 8, 9), np.float32), spaces.Box(0, 1, (10, 10, 10), np.bool_), spaces.Box(0, 1, (8, 9), bool)],
)
def test_images_are_converted_once(space):
    rows = rows_of(space)
    row, single = rows(space.sample())
    assert single
    for obs, one in ((row[0], True), (np.repeat(row, 2, 0), False)):
        again, single = rows(obs)
        assert single == one
        np.testing.assert_array_equal(again[:1], row, strict=True)


def test_numbers_that_stand_for_nothing_and_other_dtypes_are_refused():
    rows = rows_of(spaces.Discrete(16))
    for obs in (-1, 99, [0, 16]):
        with pytest.raises(
            ValueError, match=r"^observations must be of the environment's Discrete\(16\), got (-1|99|16)$"
        ):
            rows(obs)
    for rows, shape in (
        (rows_of(IMAGE, stack=4), (12, 8, 9)),
        (rows_of(IMAGE), (3, 8, 9)),
        (rows_of(IMAGE), (8, 9, 3)),
    ):
        with pytest.raises(ValueError, match=r"^observations must be uint8, got float32$"):
            rows(np.full(shape, 0.7, np.float32))


def test_another_shape_is_refused_with_both():
    with pytest.raises(ValueError, match=r"^observations must be \[3\] or \[N, 3\], got \[2\]: nor of the env.* Box"):
        rows_of(BOX)(np.zeros(2))
    with pytest.raises(ValueError, match=r"^observations must be \[5\] or \[N, 5\], got a structure: nor .*Dict"):
        rows_of(Parts.observation_space)({"speed": np.zeros(2)})


def test_as_rows():
    assert as_rows(np.zeros((2, 3)), (3,), np.dtype(np.float32))[0].dtype == np.float32
    assert as_rows([1, 2, 3], (3,), np.dtype(np.float32))[1]
    with pytest.raises(ValueError, match=r"^observations must be \[3\] or \[N, 3\], got \[1, 2, 3\]$"):
        as_rows(np.zeros((1, 2, 3)), (3,), np.dtype(np.float32))


@pytest.mark.parametrize(
    ("space", "obs", "count"),
    [
        (BOX, np.zeros(3), 0),
        (BOX, [0, 1, 2], 0),
        (BOX, np.zeros((4, 3)), 4),
        (BOX, np.zeros((0, 3)), None),
        (BOX, np.zeros((2, 4, 3)), None),
        (BOX, np.zeros(4), None),
        (spaces.Discrete(4), 3, 0),
        (spaces.Discrete(4), [3, 1], 2),
        (spaces.Discrete(4), np.eye(4)[3], None),  # a row, one-hot
        (TUPLE, (5, np.zeros(3)), 0),
        (TUPLE, ([5, 6], np.zeros((2, 3))), 2),
        (TUPLE, ([5, 6], np.zeros((3, 3))), None),
        (TUPLE, np.zeros(5), None),
        (Parts.observation_space, {"gear": 1, "speed": np.zeros(2)}, 0),
        (Parts.observation_space, {"gear": 1}, None),
        (Parts.observation_space, 3, None),
    ],
)
def test_counting(space, obs, count):
    assert count_of(space, obs) == count
