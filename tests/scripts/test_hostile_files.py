"""Files of a stranger: changed at random, and written by hand to do harm. None is more than one line of complaint."""

import json
import os
import random
import resource
import struct
import sys
import time
import zlib

import pytest

from agents.algorithm import load
from agents.commands.parser import parse
from agents.registry import AGENTS
from agents.training.run import Run
from agents.training.saved_model import read_saved_model
from tests.scripts.processes import train
from wnrl.checkpoints.tensor_files import read_checkpoint

FILES = 10_000
MOST_SECONDS, MOST_BYTES = 5.0, 10**9
VALUES = [
    None,
    True,
    -1,
    0,
    10**9,
    10**30,
    1e308,
    float("nan"),
    "",
    "x",
    "evil_module:X-v0",
    [],
    {},
    [[]],
    [20_000] * 2,
]
VALUES += [{"a": None}, "../../x", "a" * 10_000, [0] * 1000, json.loads("[" * 400 + "]" * 400), {"$tensor": "x"}]


def places(tree, path=()):
    """The paths of all values in a tree of JSON."""
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def changed(tree, draw):
    """A tree with one value exchanged, removed or added."""
    tree = json.loads(json.dumps(tree))
    path = draw.choice(list(places(tree)))
    value = draw.choice(VALUES)
    if not path:
        return value
    inner = tree
    for key in path[:-1]:
        inner = inner[key]
    if draw.random() < 0.15:
        del inner[path[-1]]
    elif draw.random() < 0.1 and isinstance(inner, dict):
        inner[draw.choice(["$dict", "$tuple", "extra", "\0"])] = value
    else:
        inner[path[-1]] = value
    return tree


def bytes_changed(data, draw):
    """A file with bytes exchanged, cut off, doubled or put in front."""
    data, at = bytearray(data), draw.randrange(len(data))
    kind = draw.randrange(5)
    if kind == 0:
        data[at] = draw.randrange(256)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        data[at:at] = os.urandom(draw.randrange(1, 50))
    elif kind == 3:
        data[:8] = struct.pack("<Q", draw.choice([0, 1, 2**20, 2**40, 2**63, 2**64 - 1]))
    else:
        data[at:at] = data
    return bytes(data)


def tensors_changed(data, draw):
    """A file of tensors whose header is another one, with the checksum that belongs to it."""
    size = struct.unpack("<Q", data[:8])[0]
    header, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
    if draw.random() < 0.2:
        header = changed(header, draw)
    else:
        own = json.dumps(changed(json.loads(header["__metadata__"]["wnrl"]), draw))
        header["__metadata__"] = {"wnrl": own, "crc32": str(zlib.crc32(own.encode()))}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def of_a_file(name, data, draw):
    """Another content for the file."""
    if draw.random() < 0.25:
        return bytes_changed(data, draw)
    if name.endswith(".json"):
        return json.dumps(changed(json.loads(data), draw)).encode()
    return tensors_changed(data, draw)


def uses(folder, name):
    """What a user does with a run, as functions."""
    if name == "config.json":
        return [lambda: parse(AGENTS["dqn"], "", ["--resume", str(folder), "--steps", "90"]), lambda: load(folder)]
    if name.startswith("checkpoints"):

        def resume():
            with Run(AGENTS["dqn"], parse(AGENTS["dqn"], "", ["--resume", str(folder), "--steps", "90"])):
                pass

        return [lambda: read_checkpoint(folder / name), resume]
    return [lambda: read_saved_model(folder, "last", "cpu"), lambda: load(folder)]


@pytest.mark.slow
def test_10_000_hostile_files(tmp_path):
    """No code runs, each ends in one line or is read, and none takes 5 s of a core or 1 GB."""
    folder, draw = tmp_path / "run", random.Random(0)
    train(folder, "--steps", 60)
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    names = ["config.json", "model.safetensors", *(f"checkpoints/{x.name}" for x in (folder / "checkpoints").iterdir())]
    whole = {name: (folder / name).read_bytes() for name in names}
    long: list[str] = []
    refused, slowest, before = 0, 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.path.insert(0, str(tmp_path))
    try:
        for number in range(FILES):
            name = names[number % len(names)]
            (folder / name).write_bytes(of_a_file(name, whole[name], draw))
            for use in uses(folder, name):
                begun = time.process_time()
                try:
                    use()
                except ValueError as error:
                    refused += 1
                    long += [str(error)] * ("\n" in str(error))
                slowest = max(slowest, time.process_time() - begun)
            (folder / name).write_bytes(whole[name])
    finally:
        sys.path.remove(str(tmp_path))
    more = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print(
        f"{FILES} files: {refused} uses refused, the slowest took {slowest:.2f} s, memory grew by {more / 1e6:.0f} MB"
    )
    assert long == []
    assert refused > FILES
    assert slowest < MOST_SECONDS
    assert more < MOST_BYTES
    assert not (tmp_path / "ran").exists()
