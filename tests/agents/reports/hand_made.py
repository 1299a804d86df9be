"""Runs written by hand: folders of ours, and TensorBoard logs as stable-baselines3 and CleanRL write them."""

import json
import struct

from agents.reports.drawing import Drawn
from agents.reports.run import Points, Run

SETTINGS = {
    "env": "Task",
    "game": None,
    "norm": "none",
    "seed": 0,
    "learning_rate": 0.001,
    "run_dir": "x",
    "steps": 300,
}


def write_run(folder, rows, games=(), agent="dqn", broke_down=None, resumed=(), **settings):
    """A folder of ours.

    Args:
        folder: of the run.
        rows: of progress.csv, a dict each with a step.
        games: of evaluations.csv, (step, score) each.
        agent: its name.
        broke_down: step at which its learning did.
        resumed: steps from which it went on.
        settings: that differ from `SETTINGS`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start = {"first_step": 0, "versions": {"torch": "2.8"}, "git_commit": "0123456789abcdef", "device": "a cpu"}
    start |= {} if broke_down is None else {"broke_down": broke_down}
    config = {"format": 1, "agent": agent, "settings": {**SETTINGS, **settings}}
    config["starts"] = [start, *({**start, "first_step": step} for step in resumed)]
    (folder / "config.json").write_text(json.dumps(config))
    columns = list(dict.fromkeys(["step", *(name for row in rows for name in row)]))
    lines = [",".join(columns), *(",".join(str(row.get(name, "")) for name in columns) for row in rows)]
    (folder / "progress.csv").write_text("\n".join(lines) + "\n")
    if games:
        lines = ["step,wall_time,seed,game,score,length", *(f"{step},0,0,0,{score},9" for step, score in games)]
        (folder / "evaluations.csv").write_text("\n".join(lines) + "\n")
    return folder


def curve(scores, every=100, seconds=1.0):
    """Rows of progress.csv with these mean returns, one each `every` steps, and the seconds since the start."""
    return [
        {"step": every * (i + 1), "rollout/ep_rew_mean": score, "time/time_elapsed": seconds * (i + 1)}
        for i, score in enumerate(scores)
    ]


def write_events(path, scalars, parameters=None, *, start=1000.0):
    """An event file.

    Args:
        path: of the file.
        scalars: (tag, step, value) each, a second apart, or a value of a summary.
        parameters: CleanRL's table of hyperparameters.
        start: seconds since the epoch at the first one.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    events = [Event(wall_time=start, file_version="brain.Event:2")]
    if parameters is not None:
        rows = "".join(f"|{name}|{value}|\n" for name, value in parameters.items())
        value = Summary.Value(tag="hyperparameters/text_summary")
        value.tensor.string_val.append(f"|param|value|\n|-|-|\n{rows}".encode())
        events.append(Event(wall_time=start, step=0, summary=Summary(value=[value])))
    for second, scalar in enumerate(scalars):
        tag, step, number = scalar if isinstance(scalar, tuple) else (None, 0, 0)
        value = scalar if tag is None else Summary.Value(tag=tag, simple_value=number)
        events.append(Event(wall_time=start + second, step=step, summary=Summary(value=[value])))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for event in events:
            data = event.SerializeToString()
            length = struct.pack("<Q", len(data))
            file.write(
                length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))
            )
    return path


def a_run(scores, *, seed=0, env="Task", agent="dqn", norm="none", name=None, every=100, settings=(), **options):
    """A run as it was read, with these mean returns."""
    steps = [every * (i + 1) for i in range(len(scores))]
    metrics = {"rollout/ep_rew_mean": Points.of(zip(steps, scores, strict=True))}
    clock = Points.of((step, step / 50) for step in steps)
    return Run(
        name or f"{agent}-{norm}-{env}-{seed}",
        agent,
        env,
        norm,
        seed,
        {"learning_rate": "0.001", "run_dir": f"r{seed}", **dict(settings)},
        {},
        metrics,
        clock,
        **options,
    )


def undrawn(chart):
    """What stands for a drawn figure in tests of something else, since drawing takes time: for `Chart.drawn`."""
    return Drawn(chart.name, chart.description, chart.height, b"PNG", b"<svg/>", b"<svg/>")
