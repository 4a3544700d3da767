"""Stubs of captions, made of the same frames as the figures: what is shown, n, interval, control, strength scale.

They say what the frame knows, and where it does not know something, that it is not in the data; the model's name is the
frame's. What the figure is there to show is the author's to add: `figure.caption = replace(figure.caption, ...)`.
"""
