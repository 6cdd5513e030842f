"""Training one policy: the update, the trainers that drive it, and where the pairs are placed."""
