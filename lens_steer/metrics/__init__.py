"""What is measured, from tensors alone: choices, steerability, collapse, and the intervals around them."""
