"""Writing to a model: interventions, and the only place that installs hooks."""

from lens_steer.hooks.chunk import Chunk as Chunk
from lens_steer.hooks.chunk import Lengths as Lengths
from lens_steer.hooks.chunk import read_chunk as read_chunk
from lens_steer.hooks.hooked import HookFunction as HookFunction
from lens_steer.hooks.hooked import hooked as hooked
from lens_steer.hooks.intervention import Intervention as Intervention
from lens_steer.hooks.intervention import Interventions as Interventions
from lens_steer.hooks.intervention import Scale as Scale
from lens_steer.hooks.intervention import as_interventions as as_interventions
from lens_steer.hooks.remote import Spec as Spec
from lens_steer.hooks.remote import check_engine as check_engine
from lens_steer.hooks.remote import remote_specs as remote_specs
from lens_steer.hooks.remote import vllm_lens_vectors as vllm_lens_vectors
from lens_steer.hooks.replay import kept_outputs as kept_outputs
from lens_steer.hooks.replay import replayed as replayed
from lens_steer.hooks.steer import active_interventions as active_interventions
from lens_steer.hooks.steer import check_intervention as check_intervention
from lens_steer.hooks.steer import named as named
from lens_steer.hooks.steer import require_unsteered as require_unsteered
from lens_steer.hooks.steer import steer as steer
from lens_steer.hooks.steering import Steering as Steering
