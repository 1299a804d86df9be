"""What the README and the pages under docs/ show works as it stands there."""

import contextlib
import importlib
import io
import re
import runpy
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (
        ROOT / "README.md",
        ROOT / ".github" / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "docs" / "how-to").glob("*.md")),
        *sorted((ROOT / "docs" / "tutorials").glob("*.md")),
    )
}
BLOCKS = [
    pytest.param(block, id=f"{page}-{number}", marks=[pytest.mark.slow] if "torch.onnx.export" in block else [])
    for page, text in PAGES.items()
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL), start=1)
]
SHOWN = {
    "train_dqn",
    "train_ppo",
    "train_pqn",
    "train_sb3",
    "evaluate",
    "watch",
    "sweep",
    "report",
    "learning_rates",
    "batch_noise",
    "soak",
} | {f"benchmark {what}" for what in ("dqn", "ppo", "a2c", "norms", "replay", "growth", "env", "start")}  # at least
WITHOUT_LINKS = {"docs/learning-rates.md", "docs/index.md", "docs/contributing.md", ".github/CONTRIBUTING.md"}
# The script with the flags of `wnrl COMMAND`.
SCRIPT_OF = {"train": "train_{}", "benchmark": "benchmark {}", "evaluate": "evaluate", "sb3": "train_sb3"}
SCRIPT_OF |= {"watch": "watch", "sweep": "sweep", "report": "report"}


@cache
def flags(command):
    """The flags of `SCRIPT` or `SCRIPT SUBCOMMAND`, as its --help lists them: the one place that knows them.

    Those of a sweep are the settings of its runs too.
    """
    if command == "sweep":
        return printed_flags(command) | printed_flags("train_dqn") | printed_flags("train_ppo")
    return printed_flags(command)


@cache
def printed_flags(command):
    script, *subcommand = command.split()
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("COLUMNS", "80")
        long = re.fullmatch(r"train_(?!sb3)\w+", script)
        patch.setattr(sys, "argv", [f"{script}.py", *subcommand, "--help-all" if long else "--help"])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "scripts" / f"{script}.py"), run_name="__main__")
    assert not end.value.code
    columns = re.findall(r"^[│ ]{0,2}((?:-h, )?--[a-z].*?)(?:  |│|$)", printed.getvalue(), flags=re.MULTILINE)
    return {flag for column in columns for flag in re.findall(r"--([a-z0-9-]+)", column)}


def shown_commands():
    """Each command line of a script or of `wnrl` on a page, as `SCRIPT` or `SCRIPT SUBCOMMAND` and its flags."""
    for text in PAGES.values():
        by_script = re.findall(r"(?<!tests/)scripts/(\w+)\.py([^\n`#]*)", text)
        by_command = re.findall(
            r"^wnrl (train \w+|evaluate|watch|sb3|benchmark|sweep|report)([^\n`#]*)", text, flags=re.MULTILINE
        )
        scripts = [("train_sb3" if name == "sb3" else name.replace(" ", "_"), line) for name, line in by_command]
        for script, line in by_script + scripts:
            subcommand = re.match(r" ([a-z][a-z0-9-]*)", line) if script == "benchmark" else None
            yield f"{script} {subcommand[1]}" if subcommand else script, set(re.findall(r"--([a-z0-9-]+)", line))
        for command, what, line in re.findall(
            r"\bwnrl (train|evaluate|watch|sb3|benchmark|sweep|report)( [a-z][a-z0-9-]*)?\b([^\n`#]*)", text
        ):
            if what or command in ("evaluate", "watch", "sb3", "sweep", "report"):
                yield SCRIPT_OF[command].format(what.strip()), set(re.findall(r"--([a-z0-9-]+)", line))


def slugs(text):
    """The anchors of a page's headings, as GitHub makes them."""
    without_code = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", without_code, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def shortened(block):
    """The block with a few steps after the warm-up of 1,000, and a tenth of the evaluations and of their games."""
    block = re.sub(r"\blearn\(([0-9_]+)", lambda found: f"learn({min(int(found[1]), 1_100)}", block)
    return re.sub(r"\b(eval_interval=|episodes=)([0-9_]+)0\b", r"\1\2", block)


@pytest.mark.filterwarnings("ignore:You are trying to run")  # small networks, where there is a GPU
@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")  # of torch.onnx.export itself
@pytest.mark.parametrize("length", [pytest.param("whole", marks=pytest.mark.slow), "short"])
@pytest.mark.parametrize("block", BLOCKS)
def test_python_blocks_run(block, length, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write
    if "onnxruntime" in block:
        pytest.importorskip("onnxruntime", reason='needs pip install -e ".[onnx]"')
    exec(compile(block if length == "whole" else shortened(block), "block of a page", "exec"), {})


def test_blocks_are_shortened():
    assert (
        shortened("a.learn(2_000, b=4_000); a.evaluate(episodes=30)")
        == "a.learn(1100, b=4_000); a.evaluate(episodes=3)"
    )
    assert shortened("DQN(eval_interval=1_000).learn(512)") == "DQN(eval_interval=1_00).learn(512)"
    assert sum(shortened(block.values[0]) != block.values[0] for block in BLOCKS) >= 5


def test_every_page_is_looked_at():
    assert {"README.md", "docs/agents.md", "docs/results.md", "docs/speed.md", "docs/weight-norm.md"} <= PAGES.keys()
    assert len(BLOCKS) >= 5


def test_flags_come_from_the_help():
    assert {"game", "double", "no-double", "beta1", "munchausen-temperature", "help"} <= flags("train_dqn")
    assert "impala" not in flags("train_dqn")
    assert "gae-lambda" not in flags("train_dqn")
    assert {"rounds", "norms", "batch-size"} <= flags("benchmark norms")
    assert "norms" not in flags("benchmark dqn")


def test_flags_exist():
    commands = list(shown_commands())
    assert {command for command, _ in commands} >= SHOWN
    wrong = {command: used - flags(command) for command, used in commands if used - flags(command)}
    assert wrong == {}


def test_flags_of_the_table_of_agents_exist():
    rows = re.findall(r"^\| `(train_\w+)\.py` \|[^|]*\|([^|]*)\|$", PAGES["docs/agents.md"], flags=re.MULTILINE)
    assert len(rows) == 6
    for script, own in rows:
        used = set(re.findall(r"--([a-z0-9-]+)", own))
        assert used
        assert used <= flags(script), script


def test_flags_in_prose_and_tables_exist():
    of_tools = {"index-url", "logdir", "nproc-per-node", "check"}  # pip, TensorBoard, torchrun, ruff
    of_tools |= {"job-name", "time", "gres", "cpus-per-task", "mem", "requeue", "signal", "open-mode"}  # sbatch
    of_tools |= {"memory", "stop-timeout", "init"}  # docker run
    of_tools |= {"head", "port"}  # ray start
    commands = {command for command, _ in shown_commands()} | {path.stem for path in (ROOT / "scripts").glob("train_*")}
    known = of_tools.union(*map(flags, commands))
    for page, text in PAGES.items():
        assert set(re.findall(r"(?<![\w|-])--([a-z][a-z0-9-]*)", text)) <= known, page


@pytest.mark.parametrize("page", PAGES)
def test_pictures_and_links_lead_somewhere(page):
    folder = (ROOT / page).parent
    prose = re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", prose) if "://" not in link]
    assert links or page in WITHOUT_LINKS
    for link in links:
        path, _, anchor = link.partition("#")
        target = folder / path if path else ROOT / page
        assert target.is_file(), link
        assert not anchor or anchor in slugs(target.read_text()), link


def test_every_picture_is_shown():
    shown = {Path(link).name for text in PAGES.values() for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)}
    assert shown == {path.name for path in (ROOT / "docs" / "pictures").iterdir()}


def test_files_and_modules_that_are_named_exist():
    for page, text in PAGES.items():
        for path in re.findall(r"\b(?:tests|scripts|docs|wnrl|agents|envs)/[\w/.-]+\.(?:py|md|png)\b", text):
            assert (ROOT / path).is_file(), f"{page}: {path}"
        for path in re.findall(r"`(train_\w+\.py)`", text):
            assert (ROOT / "scripts" / path).is_file(), f"{page}: {path}"
        for name in re.findall(r"`((?:wnrl|agents|envs)\.[a-z][\w.]*)\b", text):
            assert resolves(name), f"{page}: {name}"


def resolves(name):
    """Whether `package.module.attribute` can be imported."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            found = getattr(found, attribute, None)
        return found is not None
    return False


def test_the_code_map_shows_every_folder():
    (code_map,) = re.findall(r"```text\n(.*?)```", PAGES["README.md"], flags=re.DOTALL)
    shown = [line.split()[0].rstrip("/") for line in code_map.splitlines()]
    rooms = {f"{package}/{path.name}" for package in ("wnrl", "agents") for path in (ROOT / package).iterdir()}
    rooms = {room for room in rooms if any((ROOT / room).glob("*.py"))}
    assert len(shown) == len(set(shown))
    assert set(shown) == rooms | {"envs", "scripts", "tests", "docs"}
