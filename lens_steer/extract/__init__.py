"""Vectors from data: the activations of two sides, streamed through a method."""

from lens_steer.extract.extract import extract as extract
from lens_steer.extract.options import ExtractOptions as ExtractOptions
from lens_steer.extract.sides import read_sides as read_sides
