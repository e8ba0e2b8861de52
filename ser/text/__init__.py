"""Words with their times, their vectors, and both on a grid of steps of 0.1 s."""
