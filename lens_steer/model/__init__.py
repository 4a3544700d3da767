"""The boundary to TransformerLens: loading, identity, tokens, plain forward passes.

Only this folder imports transformer_lens, and only inside functions (`analysis` may use its tools).
"""

from lens_steer.model.batch_decoder import DecodingState as DecodingState
from lens_steer.model.chat import Prompt as Prompt
from lens_steer.model.chat import Prompts as Prompts
from lens_steer.model.chat import as_prompts as as_prompts
from lens_steer.model.chat import begun_prompts as begun_prompts
from lens_steer.model.chat import chat_prompt as chat_prompt
from lens_steer.model.fast_forward import may_fast_forward as may_fast_forward
from lens_steer.model.fingerprint import IDENTITY as IDENTITY
from lens_steer.model.fingerprint import Fingerprint as Fingerprint
from lens_steer.model.fingerprint import fingerprint as fingerprint
from lens_steer.model.fingerprint import require_same_model as require_same_model
from lens_steer.model.fingerprint import versions as versions
from lens_steer.model.folders import LAB_FOLDER as LAB_FOLDER
from lens_steer.model.forward import StopForward as StopForward
from lens_steer.model.forward import context_length as context_length
from lens_steer.model.forward import forward as forward
from lens_steer.model.forward import is_hooked as is_hooked
from lens_steer.model.forward import last_logits as last_logits
from lens_steer.model.forward import next_logits as next_logits
from lens_steer.model.forward import pad as pad
from lens_steer.model.forward import run_hooks as run_hooks
from lens_steer.model.forward import vocabulary_size as vocabulary_size
from lens_steer.model.gradients import frozen as frozen
from lens_steer.model.gradients import last_logits_with_gradient as last_logits_with_gradient
from lens_steer.model.gradients import sequence_log_probs as sequence_log_probs
from lens_steer.model.inputs import BlockInputs as BlockInputs
from lens_steer.model.inputs import block_inputs as block_inputs
from lens_steer.model.load import load_model as load_model
from lens_steer.model.prefix import continued_mask as continued_mask
from lens_steer.model.prefix import forked_caches as forked_caches
from lens_steer.model.prefix import new_cache as new_cache
from lens_steer.model.prefix import whole_cache as whole_cache
from lens_steer.model.prefix import why_not_shared as why_not_shared
from lens_steer.model.protocol import SteerableModel as SteerableModel
from lens_steer.model.protocol import require_model as require_model
from lens_steer.model.readout import Readout as Readout
from lens_steer.model.readout import read_out as read_out
from lens_steer.model.tokens import TextWriter as TextWriter
from lens_steer.model.tokens import decode as decode
from lens_steer.model.tokens import decode_after as decode_after
from lens_steer.model.tokens import eos_tokens as eos_tokens
from lens_steer.model.tokens import following_ids as following_ids
from lens_steer.model.tokens import opening_tokens as opening_tokens
from lens_steer.model.tokens import pieces as pieces
from lens_steer.model.tokens import single_ids as single_ids
from lens_steer.model.tokens import token_text as token_text
from lens_steer.model.tokens import tokenize as tokenize
from lens_steer.model.weights import output_weights as output_weights
