"""Draft captions, made from the frames of the figures: what is shown, n, interval, control, strength scale.

Facts that the frame does not contain are given as "not in the data". Add the message of the figure with
`figure.caption = replace(figure.caption, ...)`.
"""
