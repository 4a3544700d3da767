"""The embedded model: its world, its planted truths, its weights, and the script that trains it."""
