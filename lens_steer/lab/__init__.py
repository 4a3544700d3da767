"""The lab: a small embedded model, its synthetic world with planted truths, and its training script."""
