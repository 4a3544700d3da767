"""Control vectors: norm-matched random directions.

    random_like(v)[site] = ||v[site]|| g / ||g||,   g ~ N(0, I)

They change the activations by the same norm without the content of the vector. Compare an effect with at least twenty.
"""

import torch

from lens_steer.vector.vector import SteeringVector


def random_like(vector: SteeringVector, seed: int) -> SteeringVector:
    """A vector of random directions with the norms and sites of another.

    Args:
        vector: gives the sites, norms and provenance.
        seed: the same seed gives the same directions.

    Returns:
        A vector whose method is `"random"`.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = {}
    for site, direction in vector.directions.items():
        noise = torch.randn(direction.shape, generator=generator, dtype=torch.float32, device="cpu")
        directions[site] = noise * (direction.norm() / noise.norm())
    options = {"seed": seed, "norms_of": vector.name}
    return vector.replaced(f"random {seed}", directions, method="random", options=options)
