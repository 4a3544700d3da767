"""Metrics as pure functions of tensors: answer choices, steerability, collapse, vector quality, intervals."""
