"""What agents with a replay buffer share."""
