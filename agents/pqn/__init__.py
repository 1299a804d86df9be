"""PQN: parallel Q-learning (Gallici et al. 2024)."""
