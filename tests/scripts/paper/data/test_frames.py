import pytest
import torch
from paper.data import frames, loaders
from paper.data.frames import read_frames
from paper.data.loaders import load

from envs import Atari


@pytest.fixture(scope="module", autouse=True)
def _two_emulators():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "ENVIRONMENTS", 2)
        yield


@pytest.fixture(scope="module")
def breakout(_two_emulators):
    return read_frames("Breakout", 40, 8)


def test_shapes_and_labels(breakout):
    assert (breakout.name, breakout.shape) == ("frames of Breakout", (4, 84, 84))
    assert (breakout.classes, breakout.levels) == (4, 256)
    assert (len(breakout.images), len(breakout.test_images)) == (40, 8)
    assert (breakout.images.dtype, breakout.labels.dtype) == (torch.uint8, torch.int64)
    assert sorted(breakout.labels.unique().tolist()) == [0, 1, 2, 3]


def test_the_same_frames_come_each_time_and_other_ones_for_tests(breakout):
    again = read_frames("Breakout", 40, 8)
    assert all(torch.equal(one, two) for one, two in zip(breakout[1:5], again[1:5], strict=True))
    assert not torch.equal(breakout.test_images, breakout.images[:8])


def test_the_four_frames_are_those_of_the_hold(breakout):
    """The paddle moves right under action 2 and left under action 3, from the first frame of a stack to the last."""
    paddle = breakout.images[:, :, 75:79].float().mean(2)  # [N, 4, 84], the rows in which it is
    moved = []
    for action in (2, 3):
        stacks = paddle[breakout.labels == action]
        centre = (stacks * torch.arange(84)).sum(2) / stacks.sum(2)
        moved.append((centre[:, 3] - centre[:, 0]).mean().item())
    assert moved[0] > 1 > -1 > moved[1]


def test_no_test_frame_of_the_loader_is_a_training_frame(breakout, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(loaders, "read_frames", lambda *numbers: asked.append(numbers) or breakout)
    loaded = load("frames", tmp_path, 40)
    assert asked == [("Breakout", 40, 8)]
    assert torch.equal(loaded.images, breakout.images)
    among = (loaded.test_images[:, None] == loaded.images[None]).flatten(2).all(2)
    assert not among.any()
    left_out = (breakout.test_images[:, None] == breakout.images[None]).flatten(2).all(2).any(1).sum()
    assert len(loaded.test_images) == 8 - left_out
    assert loaded.remark == f"frames of Breakout: {left_out} of 8 test images are training images too, and are left out"


def test_holds_in_which_an_episode_begins_or_ends_give_no_frame(monkeypatch):
    """Emulator 0 is said to begin an episode in each second step: all frames come from the other."""
    step, actions = Atari.step, []

    def marked(self, action):
        row = step(self, action)
        actions.append(action[1:])
        first = row.first.copy()
        first[0] |= len(actions) % 2 == 0
        return row._replace(first=first)

    monkeypatch.setattr(Atari, "step", marked)
    images, labels, _ = frames._play("Breakout", 2, seed=0)
    assert len(images) == 2
    assert labels.tolist() == [actions[3].item(), actions[7].item()]


def test_an_unknown_game_is_named():
    with pytest.raises(ValueError, match="Brekout"):
        read_frames("Brekout", 40, 8)
