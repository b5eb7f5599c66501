"""Learning the model: views, objective terms, the training loop, checkpoints."""
