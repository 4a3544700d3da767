"""What is asked and contrasted: choice items, contrast pairs, splits, and readers of published files."""
