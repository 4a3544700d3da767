"""Looking at vectors: through the unembedding, and at each other."""
