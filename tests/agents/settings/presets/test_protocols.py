import pytest

from agents.commands.parser import parse
from agents.commands.sb3.command import parse_sb3
from agents.registry import AGENTS
from agents.settings.flat import to_flat, to_json
from agents.settings.presets.protocols import conditions

MACHADO = {
    "sticky_actions": 0.25,  # Machado et al. 2018, section 5.2
    "noop_max": 0,  # the same: sticky actions make games differ
    "fire_reset": False,
    "life_loss": False,  # section 3.1
    "full_action_set": True,  # table 5
    "frame_skip": 4,  # DreamerV2, Dopamine
    "max_frames": 108_000,  # 30 minutes at 60 frames a second: DreamerV2, Dopamine
    "eval_epsilon": 0.001,  # Dopamine
}
NATURE = {
    "sticky_actions": 0.0,
    "noop_max": 30,  # Mnih et al. 2015, extended data table 1
    "fire_reset": False,
    "life_loss": True,  # methods, "training details"
    "full_action_set": False,
    "frame_skip": 4,  # extended data table 1: "action repeat"
    "max_frames": 18_000,  # methods, "evaluation procedure": 5 minutes at 60 frames a second
    "eval_epsilon": 0.05,  # the same
}
GREEDY = {"dqn", "pqn"}  # agents that explore by random actions


def flat(agent, *arguments):
    return to_flat(parse(AGENTS[agent], "A program.", ["--game", "Pong", *map(str, arguments)]))


@pytest.mark.parametrize(("name", "values"), [("machado", MACHADO), ("nature", NATURE)])
@pytest.mark.parametrize("agent", AGENTS)
def test_a_protocol_gives_every_agent_its_conditions_and_nothing_else(agent, name, values):
    with_it, without = flat(agent, "--protocol", name), flat(agent)
    expected = {key: value for key, value in values.items() if key != "eval_epsilon" or agent in GREEDY}
    assert with_it == {**without, **expected, "protocol": name}
    assert without["protocol"] == "none"


def test_flags_win_over_the_protocol_and_that_over_the_preset():
    preset = flat("dqn", "--preset", "nature")
    assert (preset["noop_max"], preset["eval_epsilon"], preset["max_frames"]) == (30, 0.05, 108_000)
    machado = flat("dqn", "--preset", "nature", "--protocol", "machado")
    assert {key: machado[key] for key in MACHADO} == MACHADO
    assert machado["target_interval"] == preset["target_interval"]
    given = ["--noop-max", 7, "--eval-epsilon", 0.5, "--life-loss"]
    own = flat("dqn", *given, "--preset", "nature", "--protocol=machado")
    assert {key: own[key] for key in MACHADO} == {**MACHADO, "noop_max": 7, "eval_epsilon": 0.5, "life_loss": True}


@pytest.mark.parametrize("read", [lambda words: parse(AGENTS["ppo"], "x", words), lambda words: parse_sb3("x", words)])
def test_a_protocol_is_of_games(read):
    with pytest.raises(ValueError, match=r"^protocol machado is one of Atari games: use it with --game"):
        read(["--env", "CartPole-v1", "--protocol", "machado"])
    with pytest.raises(ValueError, match="--protocol"):
        read(["--game", "Pong", "--protocol", "other"])


@pytest.mark.parametrize(("algo", "epsilon"), [("dqn", 0.05), ("qrdqn", 0.05), ("ppo", 0.0), ("a2c", 0.0)])
def test_algorithms_of_stable_baselines3_take_it_too(algo, epsilon):
    settings = to_json(parse_sb3("x", ["--game", "Pong", "--algo", algo, "--protocol", "nature"]))
    assert {key: settings[key] for key in NATURE} == {**NATURE, "eval_epsilon": epsilon}
    settings = to_json(parse_sb3("x", ["--game", "Pong", "--protocol", "machado", "--no-full-action-set"]))
    assert {key: settings[key] for key in MACHADO} == {**MACHADO, "eval_epsilon": 0.0, "full_action_set": False}


def about(values, **more):
    emulator = {key: value for key, value in values.items() if key not in ("life_loss", "eval_epsilon")}
    return {"game": "Pong", "emulator": emulator, "life_loss": values["life_loss"], **more}


IN_WORDS = {
    "machado": "sticky actions 0.25, no no-ops, FIRE left to the agent, full action set, no life loss, "
    "at most 108,000 frames",
    "nature": "no sticky actions, up to 30 no-ops, FIRE left to the agent, minimal action set, life loss in training, "
    "at most 18,000 frames",
}


def test_conditions_in_words():
    for name, values in (("machado", MACHADO), ("nature", NATURE)):
        assert conditions(about(values), {}) == IN_WORDS[name]
        assert conditions(about(values, protocol="none"), {}) == IN_WORDS[name]
        assert conditions(about(values, protocol=name), {}) == f"protocol {name}: {IN_WORDS[name]}"
    assert conditions({"game": None, "env": "Chain", "emulator": {}}, {"epsilon": 0.0}) == ""


def test_what_differs_from_the_protocol_is_named():
    changed = about({**NATURE, "fire_reset": True}, protocol="nature")
    assert conditions(changed, {"epsilon": 0.05}).startswith("protocol nature except fire_reset: no sticky actions,")
    assert conditions(changed, {"epsilon": 0.0}).startswith("protocol nature except fire_reset, eval_epsilon: no")
    assert conditions(about(NATURE, protocol="nature"), {"sample": True}).startswith("protocol nature: ")


def test_another_frame_skip_is_named():
    words = conditions(about({**NATURE, "frame_skip": 2}, protocol="nature"), {"epsilon": 0.05})
    assert words.startswith("protocol nature except frame_skip: no sticky")
    assert words.endswith(", life loss in training, 2 frames a step, at most 18,000 frames")


def test_what_an_earlier_model_does_not_say_is_left_out():
    assert conditions({"game": "Pong", "emulator": {"noop_max": 3}}, {"epsilon": 0.05}) == "up to 3 no-ops"
    stable = {"game": "Pong", "emulator": {"terminal_on_life_loss": True}}
    assert conditions(stable, {"epsilon": 0.0}) == "life loss in training"
