"""Training runs: the step, the loop, checkpoints and evaluation."""
