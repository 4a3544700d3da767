"""The model that a command names, loaded once its data have been read."""

from dataclasses import dataclass

from lens_steer.model import SteerableModel, load_model


@dataclass(frozen=True)
class ModelSource:
    """A model and where it goes, as `load_model` takes them; an empty `device_map` is none."""

    name: str = "lab"
    device: str = "cpu"
    dtype: str = "float32"
    device_map: str = ""
    prepend_bos: bool | None = None

    def load(self) -> SteerableModel:
        """Loads the model."""
        return load_model(
            self.name,
            device=self.device,
            dtype=self.dtype,
            device_map=self.device_map or None,
            prepend_bos=self.prepend_bos,
        )
