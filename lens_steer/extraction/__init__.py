"""Extraction of steering vectors from data: activations of two classes, streamed through a method."""

from lens_steer.extraction.activations import contrast_activations as contrast_activations
from lens_steer.extraction.extract import extract as extract
from lens_steer.extraction.options import ExtractOptions as ExtractOptions
from lens_steer.extraction.shuffled import shuffled_vectors as shuffled_vectors
