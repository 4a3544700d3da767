"""Draft captions, made from the frames of the figures: what is shown, n, interval, control, strength scale.

Where there is no interval, control or count, the caption says why in a few words. Add the message of the figure with
`figure.caption = replace(figure.caption, ...)`.
"""
