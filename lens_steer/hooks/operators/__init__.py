"""The operators: how a direction is written into an activation; and the gates: whether it is.

All of them are frozen dataclasses, independent of site, positions and model. Each operator defines what its strength
means; 0 is always no steering.
"""

from lens_steer.hooks.operators.ablate import Ablate as Ablate
from lens_steer.hooks.operators.ablate import AblateThenAdd as AblateThenAdd
from lens_steer.hooks.operators.add import Add as Add
from lens_steer.hooks.operators.affine import MeanMatch as MeanMatch
from lens_steer.hooks.operators.affine import Mimic as Mimic
from lens_steer.hooks.operators.clamp import Clamp as Clamp
from lens_steer.hooks.operators.classifier import ClassifierGradient as ClassifierGradient
from lens_steer.hooks.operators.erase import Erase as Erase
from lens_steer.hooks.operators.erase import EraseThenSteer as EraseThenSteer
from lens_steer.hooks.operators.gate import ConditionGate as ConditionGate
from lens_steer.hooks.operators.gate import Gate as Gate
from lens_steer.hooks.operators.gate import ProbeGate as ProbeGate
from lens_steer.hooks.operators.in_context import InContextAdd as InContextAdd
from lens_steer.hooks.operators.operator import Operator as Operator
from lens_steer.hooks.operators.operator import is_token_wise as is_token_wise
from lens_steer.hooks.operators.replace import Replace as Replace
from lens_steer.hooks.operators.rotate import GatedSlerp as GatedSlerp
from lens_steer.hooks.operators.rotate import Rotate as Rotate
from lens_steer.hooks.operators.rotate import Slerp as Slerp
from lens_steer.hooks.operators.transport import LinearTransport as LinearTransport
from lens_steer.hooks.operators.wrappers import NormPreserving as NormPreserving
