"""Observations of an environment as agents take them: float32 vectors, or uint8 images with channels first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import (
    FlattenObservation,
    FrameStackObservation,
    GrayscaleObservation,
    ResizeObservation,
    TransformObservation,
)

from envs.makers import one_line

SMALLEST = 3
"""The least side of an image: that of the smallest convolutions."""


@dataclass(frozen=True)
class Preprocessing:
    """Wraps one environment of Gymnasium.

    An image is a ``Box`` with sides of at least 3: uint8 or bool ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` (channels
    are the shorter axis), or of any dtype ``[H, W, C]`` or ``[C, H, W]`` with bounds 0 and 1; or a stack of uint8 or
    bool images, ``[S, H, W, C]`` or ``[S, C, H, W]``. It becomes uint8 ``[C, H, W]``, a stack ``[S * C, H, W]``, in
    which 255 stands for True and for a bound of 1; values outside of the bounds are clipped to them, see `stray_value`.
    Any other space is flattened to a vector, discrete ones to one-hot.

    Args:
        resize: height and width of images, by area interpolation; None: as they are.
        grey: colour images become grey.
        frame_skip: steps of the environment in one, with the same action; their rewards are summed.
        stack: observations in one, oldest first, zeros before the episode: ``[stack * C, H, W]``, or a longer vector.

    Raises:
        ValueError: a number out of range.
    """

    resize: tuple[int, int] | None = None
    grey: bool = False
    frame_skip: int = 1
    stack: int = 1

    def __post_init__(self) -> None:
        for name in ("frame_skip", "stack"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.resize is not None:
            if len(self.resize) != 2 or min(self.resize) < 1:
                raise ValueError(f"resize takes a height and a width of at least 1, got {self.resize}")
            object.__setattr__(self, "resize", tuple(self.resize))  # of a list, as JSON has it

    def __call__(self, env: gymnasium.Env) -> gymnasium.Env:
        """The environment, wrapped: its observation space is a ``Box``, uint8 of three dimensions for images.

        Raises:
            ValueError: the action space is of another kind than `Environment` has, the observation space has no fixed
                size, has no number or holds images next to other things, or there are no images to resize or to make
                grey.
        """
        check_actions(env.action_space)
        if self.frame_skip > 1:
            env = RepeatAction(env, self.frame_skip)
        if is_image(env.observation_space):
            return self._images(env)
        if self.resize is not None or self.grey:
            asked = "grey" if self.grey else "resize"
            raise ValueError(f"{asked} is for images, got observations {one_line(env.observation_space)}")
        return self._vectors(env)

    def _images(self, env: gymnasium.Env) -> gymnasium.Env:
        if self.resize is None and not self.grey:
            env = _uint8(env)
        else:
            env = _channels_first(self._smaller(_uint8(env, channels_last=True)))
        if self.stack == 1:
            return env
        stacked = _stacked(env, self.stack)  # [S, C, H, W]
        frames, channels, *sides = _shape(stacked)
        merged = spaces.Box(0, 255, (frames * channels, *sides), np.uint8)
        return TransformObservation(stacked, lambda obs: obs.reshape(merged.shape), merged)

    def _smaller(self, env: gymnasium.Env) -> gymnasium.Env:
        """Images `[H, W, C]`, grey and resized."""
        if self.grey:
            if _shape(env)[2:] != (3,):
                raise ValueError(f"grey is for images of 3 colours, got {list(_shape(env))}")
            env = GrayscaleObservation(env, keep_dim=True)
        try:
            return env if self.resize is None else _resized(env, self.resize)
        except gymnasium.error.DependencyNotInstalled as error:
            raise ValueError("resize needs OpenCV: pip install opencv-python-headless") from error

    def _vectors(self, env: gymnasium.Env) -> gymnasium.Env:
        space = env.observation_space
        if not space.is_np_flattenable:
            raise ValueError(f"observations must have a fixed size, got {one_line(space)}")
        if not spaces.flatdim(space):
            raise ValueError(f"observations must have at least one number, got {one_line(space)}")
        for name, part in _parts(space):
            if is_image(part) and not _is_unit(part):
                raise ValueError(
                    f"{name} of the observations is an image, {one_line(part)}: make the image alone the observation, "
                    "for example by gymnasium.wrappers.TransformObservation"
                )
        if not (isinstance(space, spaces.Box) and len(space.shape) == 1):
            env = FlattenObservation(env)
        if self.stack == 1:
            return env
        return FlattenObservation(_stacked(env, self.stack))


class RepeatAction(gymnasium.Wrapper):
    """Takes each action several times, and adds the rewards; an episode's end stops it. (Gymnasium has it from 1.3 on.)

    Args:
        env: the environment.
        times: steps of it in one.
    """

    def __init__(self, env: gymnasium.Env, times: int) -> None:
        super().__init__(env)
        self._times = times

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        total = 0.0
        for _ in range(self._times):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info


def is_image(space: spaces.Space) -> bool:
    """Whether observations of that space are images, see `Preprocessing`."""
    if not isinstance(space, spaces.Box) or not 2 <= len(space.shape) <= 4 or min(_sides(space.shape)) < SMALLEST:
        return False
    if len(space.shape) == 2:
        return space.dtype == np.bool_ or (space.dtype == np.uint8 and (_is_unit(space) or _fills_bytes(space)))
    return space.dtype in (np.uint8, np.bool_) or (len(space.shape) == 3 and _is_unit(space))


def white_of(space: spaces.Space) -> int | None:
    """The value that becomes 255 in images, 1 or 255; None: observations of that space are no images."""
    return (1 if _is_unit(space) else 255) if is_image(space) else None


def can_stray(dtype: np.dtype, white: int) -> bool:
    """Whether images of that dtype can hold other values than 0 to ``white``."""
    return dtype != np.bool_ and (white == 1 or dtype != np.uint8)


def stray_value(image: np.ndarray, white: int) -> str:
    """The first value of an image that cannot become a byte, and its place: ``"nan at [0, 1]"``; empty: there is none.

    Floats may be outside of 0 and ``white`` by 1, as noise and filters make them, which is clipped; integers may not.

    Args:
        image: of any shape.
        white: as `white_of` has it.
    """
    if not can_stray(image.dtype, white):
        return ""
    excess = 1 if image.dtype.kind == "f" else 0
    low, high = -excess, white + excess
    if low <= image.min() and image.max() <= high:  # not of NaN
        return ""
    return first_where(~((image >= low) & (image <= high)), image)


def first_where(wrong: np.ndarray, array: np.ndarray) -> str:
    """The first value of an array that is ``wrong``, and its place: ``"nan at [0, 1]"``."""
    place = np.argwhere(wrong)[0].tolist()
    return f"{array[tuple(place)]} at {place}"


def check_actions(space: spaces.Space) -> spaces.Discrete | spaces.Box:
    """Return the action space; raise ValueError if it is neither ``Discrete`` nor a float ``Box`` of one dimension."""
    if isinstance(space, spaces.Discrete):
        return space
    if isinstance(space, spaces.Box) and len(space.shape) == 1 and space.shape[0] > 0 and space.dtype.kind == "f":
        return space
    raise ValueError(f"the action space must be Discrete or a float Box of one dimension, got {one_line(space)}")


def any_action(space: spaces.Discrete | spaces.Box) -> Any:
    """An action of that space, always the same."""
    if isinstance(space, spaces.Discrete):
        return space.start
    return np.clip(np.zeros(space.shape), space.low, space.high).astype(space.dtype)


def _uint8(env: gymnasium.Env, channels_last: bool = False) -> gymnasium.Env:
    """The environment with uint8 images `[C, H, W]`, or `[H, W, C]`, of values to 255."""
    space = env.observation_space
    assert isinstance(space, spaces.Box)
    if channels_last and len(space.shape) == 4:
        raise ValueError(f"grey and resize are for single images, got stacks {list(space.shape)}")
    order = _order(space.shape, channels_last)
    rounds, white = space.dtype.kind == "f", white_of(space)
    assert white is not None

    def convert(obs: Any) -> np.ndarray:
        image = np.asarray(obs)
        if image.ndim == 2:
            image = image[..., None] if channels_last else image[None]
        image = image.transpose(order)
        if can_stray(image.dtype, white):
            image = np.clip(image, 0, white)
        if white == 1:
            image = np.rint(np.multiply(image, 255.0)) if rounds else image.astype(np.uint8) * np.uint8(255)
        if image.ndim == 4:
            image = image.reshape(-1, *image.shape[2:])
        return np.ascontiguousarray(image, np.uint8)

    images = spaces.Box(0, 255, convert(np.zeros(space.shape, space.dtype)).shape, np.uint8)
    return env if space == images else TransformObservation(env, convert, images)


def _stacked(env: gymnasium.Env, frames: int) -> gymnasium.Env:
    """The environment with stacks of its last observations, oldest first, even if it returns the same array again."""
    copied = TransformObservation(env, np.array, env.observation_space)  # FrameStackObservation keeps references
    return FrameStackObservation(copied, frames, padding_type="zero")


def _resized(env: gymnasium.Env, sides: tuple[int, int]) -> gymnasium.Env:
    """The environment with images `[H, W, C]` of these sides."""
    height, width, channels = _shape(env)
    if channels <= 4:  # OpenCV's area interpolation takes no more
        return ResizeObservation(env, sides)
    one = TransformObservation(env, lambda obs: obs[..., :1], spaces.Box(0, 255, (height, width, 1), np.uint8))
    resize = ResizeObservation(one, sides).observation

    def each(obs: np.ndarray) -> np.ndarray:
        parts = [resize(np.ascontiguousarray(obs[..., c : c + 1])).reshape(sides) for c in range(channels)]
        return np.stack(parts, axis=-1)

    return TransformObservation(env, each, spaces.Box(0, 255, (*sides, channels), np.uint8))


def _channels_first(env: gymnasium.Env) -> gymnasium.Env:
    """The environment with images `[C, H, W]` instead of `[H, W, C]`."""
    height, width, channels = shape = _shape(env)
    turned = spaces.Box(0, 255, (channels, height, width), np.uint8)
    # Versions of ResizeObservation drop an axis of 1 from what they return.
    return TransformObservation(env, lambda obs: np.ascontiguousarray(obs.reshape(shape).transpose(2, 0, 1)), turned)


def _order(shape: tuple[int, ...], channels_last: bool) -> tuple[int, ...]:
    """The order of the axes of an image, or of a stack of images, that puts the channels first or last."""
    if len(shape) == 2 or _channels_are_first(shape) != channels_last:
        return tuple(range(max(len(shape), 3)))
    stack, a = tuple(range(len(shape) - 3)), len(shape) - 3
    return (*stack, a + 1, a + 2, a) if channels_last else (*stack, a + 2, a, a + 1)


def _channels_are_first(shape: tuple[int, ...]) -> bool:
    return shape[-3] < shape[-1]


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Height and width."""
    return shape[-2:] if len(shape) == 2 or _channels_are_first(shape) else shape[-3:-1]


def _shape(env: gymnasium.Env) -> tuple[int, ...]:
    shape = env.observation_space.shape
    assert shape is not None
    return shape


def _is_unit(space: spaces.Space) -> bool:
    """Whether its values lie within 0 and 1."""
    return isinstance(space, spaces.Box) and bool(np.all(space.low == 0) and np.all(space.high == 1))


def _fills_bytes(space: spaces.Box) -> bool:
    return bool(np.all(space.low == 0) and np.all(space.high == 255))


def _parts(space: spaces.Space, name: str = "") -> Iterator[tuple[str, spaces.Space]]:
    """The spaces within a Dict or Tuple, with their names."""
    inner: Any = ()
    if isinstance(space, spaces.Dict):
        inner = space.spaces.items()
    elif isinstance(space, spaces.Tuple):
        inner = enumerate(space.spaces)
    for key, part in inner:
        place = f"{name}[{key!r}]"
        yield place, part
        yield from _parts(part, place)
