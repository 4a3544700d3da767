"""Data for steering: choice items, contrast pairs, corpora, in-context tasks, splits, file readers."""
