"""PPO, A2C and REINFORCE."""
