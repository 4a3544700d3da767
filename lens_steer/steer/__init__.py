"""Writing to a model: interventions, and the only place that installs hooks."""

from lens_steer.steer.chunk import Chunk as Chunk
from lens_steer.steer.chunk import Lengths as Lengths
from lens_steer.steer.chunk import read_chunk as read_chunk
from lens_steer.steer.hooked import HookFunction as HookFunction
from lens_steer.steer.hooked import hooked as hooked
from lens_steer.steer.intervention import Intervention as Intervention
from lens_steer.steer.intervention import Scale as Scale
from lens_steer.steer.replay import kept_outputs as kept_outputs
from lens_steer.steer.replay import replayed as replayed
from lens_steer.steer.steer import steer as steer
from lens_steer.steer.steering import Steering as Steering
