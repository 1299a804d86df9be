"""The command that trains algorithms of stable-baselines3, and plays what they have learned."""
