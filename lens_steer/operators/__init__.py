"""The operators: how a direction is written into an activation."""

from lens_steer.operators.add import Add as Add
from lens_steer.operators.operator import Operator as Operator
from lens_steer.operators.replace import Replace as Replace
