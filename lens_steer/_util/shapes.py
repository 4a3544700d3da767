"""The names of axes, used in every tensor annotation of the package.

A name means the same thing everywhere. `tests/test_house.py` refuses an annotation with a name that is not written
here. Single axes are written with a leading space (`" d_model"`). This module holds names only; it checks nothing
itself.
"""

AXES: dict[str, str] = {
    "batch": "sequences in one forward pass",
    "pos": "tokens of one forward chunk (absolute positions are values, never an axis)",
    "copy": "passes that continue the same rows of a cache side by side",
    "new": "tokens of one chunk that is appended to a key-value cache",
    "d_model": "coordinates of the residual stream",
    "d_head": "coordinates of one attention head's output, before the output matrix",
    "head": "attention heads of a layer",
    "width": "coordinates of a site: d_model, or d_head for one head",
    "part": "what a hook's activation has behind its tokens: d_model, or head and d_head",
    "d_vocab": "tokens of the vocabulary",
    "n_pos": "rows of activations on the positive side of a contrast",
    "n_neg": "rows of activations on the negative side of a contrast",
    "n": "rows of activations, of either side",
    "n_source": "rows of activations that a map starts from; of counts: documents of the text that should stay",
    "n_target": "rows of activations that a map leads to; of counts: documents of the skill that should go",
    "pair": "contrast pairs",
    "side": "the completions of a pair, the positive one first",
    "rank": "directions that an eraser takes out",
    "item": "choice items",
    "vector": "steering vectors that may be added",
    "behaviour": "behaviours that are asked together",
    "other": "the second of two axes of one kind, of a matrix of pairs",
    "order": "option orders of one item: in order r the matching option stands at place r, 0 the first",
    "option": "options of one item, of which 0 is the matching one",
    "row": "token rows of prepared questions",
    "sign": "steering with a strength, and with its negative",
    "strength": "values of a strength grid",
    "length": "prompt lengths: one a row, or one for all rows",
    "layer": "layers of the model",
    "component": "what writes to the residual stream: an edit, a head, an MLP, ...",
    "d_in": "coordinates that an input map of a block has, heads or neurons together",
    "site": "sites of a vector",
    "half": "the two random halves of some data",
    "block": "rows in a row that stay together when data is halved",
    "shared": "attention heads that have the same keys and values",
    "resample": "bootstrap resamples of the same items",
    "split": "random splits of the same items",
    "refit": "vectors of bootstrap resamples of the training pairs",
    "k": "tokens kept of a vocabulary, or tokens of a pass whose logits are kept",
    "number": "what is kept of a sequence's logits",
}
