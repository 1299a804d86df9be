from tests.scripts.policy_gradient_runs import TrainingScript


class TestA2C(TrainingScript):
    script = "train_a2c"
    words = ("--rollout-length", "--gae-lambda", "Steps of each environment per rollout")
