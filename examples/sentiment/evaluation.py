"""The sentiment vector of SmolLM2 and a random direction of its norm, evaluated in one call each: ten minutes."""

from data import RESULTS, TEMPLATE, continuations, lines, sentences, vectors

from lens_steer import load_model
from lens_steer.experiments.evaluation import evaluate
from lens_steer.experiments.reliability.settings import Reliability
from lens_steer.extraction import shuffled_vectors
from lens_steer.figures import save_figure
from lens_steer.vector import random_like

SETTINGS = Reliability(
    sites=("resid_post@11", "resid_post@14"),
    strengths=(-0.4, -0.2, -0.1, 0.1, 0.2, 0.4),
    reference=0.2,
    scale="relative",
    template=TEMPLATE,
    scoring="option_token",
)


def main() -> None:
    """Writes the tables of both evaluations, and the figure of the vector's."""
    model = load_model("smollm2")
    vector, _ = vectors(model)
    shuffled = shuffled_vectors(model, vector, sentences(), n=20)
    for name, own in {"evaluation": vector, "evaluation_random": random_like(vector, 5)}.items():
        found = evaluate(
            model,
            own,
            continuations(),
            neutral=lines("neutral.txt"),
            shuffled=shuffled,
            settings=SETTINGS,
            progress=True,
        )
        found.save(RESULTS / name)
        print(name, found.verdict, found.summary["why"].item())
        if own is vector:
            save_figure(found.plot(), found.curves, RESULTS, name)


if __name__ == "__main__":
    main()
