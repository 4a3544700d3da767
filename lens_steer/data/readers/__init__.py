"""Readers of published file formats, one module per format."""
