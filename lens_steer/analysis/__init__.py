"""Analysis of vectors and edits: lenses, geometry, attribution, persistence, projections, vector quality."""
