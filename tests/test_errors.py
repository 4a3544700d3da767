"""The error tree."""

import inspect

from lens_steer import errors


def test_every_error_is_a_lens_steer_error_and_a_value_error() -> None:
    classes = [entry for _, entry in inspect.getmembers(errors, inspect.isclass)]
    warned = {entry for entry in classes if issubclass(entry, Warning)}
    own = {errors.SteeringWarning, errors.CacheWarning, errors.BatchWarning, errors.SharedPrefixWarning}
    own |= {errors.CheckpointWarning}
    assert warned == own
    assert all(issubclass(entry, UserWarning) for entry in warned)
    raised = [entry for entry in classes if entry not in warned]
    assert len(raised) > 10
    for entry in raised:
        assert issubclass(entry, errors.LensSteerError) and issubclass(entry, ValueError)
        assert entry.__doc__


def test_the_warning_is_no_error() -> None:
    assert issubclass(errors.SteeringWarning, UserWarning)
    assert not issubclass(errors.SteeringWarning, errors.LensSteerError)
