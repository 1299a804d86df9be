import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation, GrayscaleObservation, ResizeObservation

from envs.preprocessing import Preprocessing, RepeatAction, any_action, check_actions, is_image
from tests.envs.own import Own, of


def box(*shape, high=255, dtype=np.uint8):
    return spaces.Box(0, high, shape, dtype)


def wrapped(space, **options):
    return Preprocessing(**options)(of(space)())


IMAGES = [  # space, shape of a row, and the axes of the raw observation in its order
    (box(64, 48), (1, 64, 48), None),
    (box(64, 48, 1), (1, 64, 48), (2, 0, 1)),
    (box(64, 48, 3), (3, 64, 48), (2, 0, 1)),
    (box(3, 64, 48), (3, 64, 48), (0, 1, 2)),
    (box(4, 64, 48), (4, 64, 48), (0, 1, 2)),
    (box(5, 64, 48, 3), (15, 64, 48), (0, 3, 1, 2)),
    (box(5, 3, 64, 48), (15, 64, 48), (0, 1, 2, 3)),
    (box(10, 10, 4, high=1, dtype=np.bool_), (4, 10, 10), (2, 0, 1)),
    (box(10, 10, 10, high=1, dtype=np.bool_), (10, 10, 10), (2, 0, 1)),
    (box(10, 10, high=1, dtype=np.bool_), (1, 10, 10), None),
    (box(10, 10, 4, high=1), (4, 10, 10), (2, 0, 1)),
    (box(10, 10, 4, high=1, dtype=np.float32), (4, 10, 10), (2, 0, 1)),
]


@pytest.mark.parametrize(("space", "shape", "order"), IMAGES)
def test_images_become_bytes_with_channels_first(space, shape, order):
    env = wrapped(space)
    assert is_image(space)
    assert env.observation_space == spaces.Box(0, 255, shape, np.uint8)
    obs = env.reset(seed=3)[0]
    space.seed(3)
    raw = space.sample()
    turned = (raw if order is None else raw.transpose(order)).reshape(shape)
    scale = 1 if space.high.max() == 255 else 255
    np.testing.assert_array_equal(obs, np.rint(turned * float(scale)).astype(np.uint8), strict=True)
    assert obs.max() > 200


@pytest.mark.parametrize("options", [{}, {"resize": (8, 8)}, {"grey": True}])
@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (np.float32, [1.01, -0.01, 1.5, -0.5, 1, 0.5, 0], [255, 0, 255, 0, 255, 128, 0]),
        (np.float32, [2, -1, 1, 0], [255, 0, 255, 0]),
        (np.int64, [2, -1, 1, 0, 256], [255, 0, 255, 0, 255]),
        (np.uint8, [2, 255, 1, 0], [255, 255, 255, 0]),
    ],
)
def test_values_outside_of_their_bounds_are_clipped(options, dtype, values, expected):
    class Shows(Own):
        observation_space = box(8, 8, 3, high=1, dtype=dtype)

        def step(self, action):
            return np.full((8, 8, 3), values[action], dtype), 0.0, False, False, {}

    env = Preprocessing(**options)(Shows())
    assert [np.unique(env.step(i)[0]).tolist() for i in range(len(values))] == [[byte] for byte in expected]


def test_wider_integers_are_clipped():
    obs = Preprocessing()(of(box(8, 8, 3))()).observation(np.full((8, 8, 3), 300, np.uint16))
    assert (obs == 255).all()


@pytest.mark.parametrize(
    "space",
    [
        box(128),
        box(2, 64),
        box(64, 64, 2, 2, 3),
        box(3, 3, high=2),  # a board
        box(84, 84, dtype=np.float32),
        spaces.Box(-1, 1, (8, 8, 3), np.float32),
        spaces.MultiBinary([3, 3]),
        spaces.Discrete(5),
    ],
)
def test_anything_else_is_flattened(space):
    assert not is_image(space)
    assert wrapped(space).observation_space.shape == spaces.flatten_space(space).shape


def test_parts_are_flattened_in_their_order():
    env = wrapped(spaces.Dict(b=spaces.Discrete(3), a=spaces.Box(-1, 1, (2,)), c=spaces.Tuple([spaces.Discrete(2)])))
    obs = env.reset(seed=0)[0]
    env.unwrapped.observation_space.seed(0)
    raw = env.unwrapped.observation_space.sample()
    expected = [*np.eye(3)[raw["b"]], *raw["a"], *np.eye(2)[raw["c"][0]]]
    np.testing.assert_allclose(obs, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("space", "name"),
    [
        (spaces.Dict(image=box(64, 64, 3), speed=box(2)), r"\['image'\]"),
        (spaces.Dict(image=box(64, 64, 3)), r"\['image'\]"),
        (spaces.Tuple([box(2), spaces.Dict(seen=box(64, 64))]), r"\[1\]\['seen'\]"),
    ],
)
def test_images_next_to_other_things_are_refused_by_name(space, name):
    with pytest.raises(ValueError, match=rf"^{name} of the observations is an image, Box\(0, 255, \(64.*: make the im"):
        wrapped(space)


def test_a_board_of_bits_may_be_a_part():
    assert wrapped(spaces.Dict(board=box(3, 3, high=1), turn=spaces.Discrete(2))).observation_space.shape == (11,)


@pytest.mark.parametrize(("raw", "options", "shape"), [
    (box(64, 48, 3), {"stack": 4}, (12, 64, 48)),
    (box(64, 48, 3), {"grey": True}, (1, 64, 48)),
    (box(3, 64, 48), {"grey": True, "stack": 4}, (4, 64, 48)),
    (box(64, 48), {"resize": (40, 50), "stack": 2}, (2, 40, 50)),
    (box(64, 48), {"resize": [40, 50]}, (1, 40, 50)),
    (box(6, 64, 48), {"resize": (40, 50)}, (6, 40, 50)),
    (box(64, 48, 3), {"grey": True, "resize": (84, 84), "stack": 4}, (4, 84, 84)),
    (box(64, 48, 3), {"resize": (3, 3)}, (3, 3, 3)),
])  # fmt: skip
def test_options_of_images(raw, options, shape):
    env = wrapped(raw, **options)
    obs = env.reset(seed=0)[0]
    assert env.observation_space.shape == shape == obs.shape
    assert obs.dtype == np.uint8


def test_grey_resized_stacks_are_those_of_gymnasium():
    space = box(64, 48, 3)
    ours = wrapped(space, grey=True, resize=(40, 50), stack=3)
    other = ResizeObservation(GrayscaleObservation(of(space)()), (40, 50))
    theirs = FrameStackObservation(other, 3, padding_type="zero")
    np.testing.assert_array_equal(ours.reset(seed=0)[0], theirs.reset(seed=0)[0], strict=True)
    for _ in range(4):
        np.testing.assert_array_equal(ours.step(0)[0], theirs.step(0)[0], strict=True)
    assert (ours.reset()[0][:2] == 0).all()


def test_vectors_are_stacked_oldest_first():
    env = wrapped(spaces.Box(-1, 1, (2,)), stack=3)
    first = env.reset(seed=0)[0]
    second = env.step(0)[0]
    assert first.shape == (6,)
    np.testing.assert_array_equal(first[:4], 0)
    np.testing.assert_array_equal(second[2:4], first[4:])


class Counting(gymnasium.Env):
    """Returns the same array at each step, in which the number of steps is counted."""

    def __init__(self, space):
        self.observation_space, self.action_space = space, spaces.Discrete(2)
        self.seen = np.zeros(space.shape, space.dtype)

    def reset(self, *, seed=None, options=None):
        self.seen[:] = 1
        return self.seen, {}

    def step(self, action):
        self.seen += 1
        return self.seen, 0.0, False, False, {}


@pytest.mark.parametrize(("space", "options"), [
    (spaces.Box(-1, 9, (2,)), {}),
    (spaces.Box(-1, 9, (2, 2)), {}),
    (box(8, 9), {}),
    (box(1, 8, 9), {}),
    (box(3, 8, 9), {}),
    (box(8, 9, 3), {}),
    (box(8, 9), {"resize": (8, 9)}),
    (box(8, 9, 3), {"grey": True}),
])  # fmt: skip
@pytest.mark.parametrize("skip", [1, 2])
def test_a_stack_keeps_what_was_seen_of_an_array_that_is_used_again(space, options, skip):
    env = Preprocessing(stack=3, frame_skip=skip, **options)(Counting(space))
    for _ in range(2):
        rows = [env.reset()[0], *(env.step(0)[0] for _ in range(3))]
        frames = [row.reshape(3, -1)[:, 0].tolist() for row in rows]
        steps = [0, 0, *range(1, 9, skip)]
        assert frames == [steps[row : row + 3] for row in range(4)]


def test_a_repeated_action_adds_rewards_and_stops_at_the_end():
    class Paid(Own):
        def step(self, action):
            obs, _, terminated, truncated, info = super().step(action)
            return obs, 10.0**self.steps, terminated, truncated, info

    env = RepeatAction(Paid(), 3)
    env.reset()
    assert [env.step(0)[1:4] for _ in range(3)] == [
        (1110.0, False, False),
        (1_110_000.0, False, False),
        (1e7, True, False),
    ]
    assert Preprocessing(frame_skip=3)(Own()).reset()[0].shape == (3,)


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        (box(4), {"resize": (8, 8)}, r"^resize is for images, got observations Box\(0, 255, \(4,\), uint8\)$"),
        (box(4), {"grey": True}, "^grey is for images, got observations"),
        (box(64, 64), {"grey": True}, r"^grey is for images of 3 colours, got \[64, 64, 1\]$"),
        (box(4, 64, 64, 3), {"grey": True}, r"^grey and resize are for single images, got stacks \[4, 64, 64, 3\]$"),
        (box(4), {"stack": 0}, "^stack must be at least 1, got 0$"),
        (box(4), {"frame_skip": 0}, "^frame_skip must be at least 1, got 0$"),
        (box(64, 64), {"resize": (0, 8)}, r"^resize takes a height and a width of at least 1, got \(0, 8\)$"),
        (box(64, 64), {"resize": (8,)}, r"^resize takes a height and a width of at least 1, got \(8,\)$"),
        (spaces.Sequence(box(2)), {}, "^observations must have a fixed size, got Sequence"),
        (box(0), {}, r"^observations must have at least one number, got Box\(.*\(0,\)"),
        (spaces.Dict(), {}, r"^observations must have at least one number, got Dict\(\)$"),
    ],
)
def test_what_does_not_fit(space, options, message):
    with pytest.raises(ValueError, match=message):
        wrapped(space, **options)


def test_opencv_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(ValueError, match=r"^resize needs OpenCV: pip install opencv-python-headless$"):
        wrapped(box(64, 64, 3), resize=(8, 8))


def test_action_spaces():
    assert check_actions(spaces.Discrete(3)).n == 3
    with pytest.raises(ValueError, match=r"^the action space must be .*, got MultiDiscrete\(\[2 3\]\)$"):
        Preprocessing()(of(box(4), spaces.MultiDiscrete([2, 3]))())


def test_any_action_is_one_of_the_space():
    boxes = [(-2, -1), (-1, 2), (0.5, np.inf), (-np.inf, np.inf)]
    for space in (spaces.Discrete(3, start=-2), *(spaces.Box(low, high, (2,), np.float32) for low, high in boxes)):
        assert space.contains(any_action(space))


def test_an_environment_of_vectors_is_not_wrapped():
    env = Own()
    assert Preprocessing()(env) is env
    assert isinstance(wrapped(box(8, 8, 3)), gymnasium.Wrapper)


@pytest.mark.parametrize("channels", [4, 5, 9])
def test_images_of_many_channels_are_resized_channel_by_channel(channels):
    pytest.importorskip("cv2")
    space = box(16, 12, channels)
    env, one = Preprocessing(resize=(8, 6))(of(space)()), ResizeObservation(of(box(16, 12))(), (8, 6))
    assert env.observation_space == box(channels, 8, 6)
    several = env.reset(seed=3)[0]
    space.seed(3)
    raw = space.sample()
    for channel, resized in enumerate(several):
        np.testing.assert_array_equal(resized, one.observation(np.ascontiguousarray(raw[..., channel])))
