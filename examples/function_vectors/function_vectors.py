"""Function vectors of three tasks on SmolLM2 beside random sums of heads: about six minutes on one thread."""

from pathlib import Path

from lens_steer import load_model, read
from lens_steer.experiments.function_vectors import FunctionVectors, compare_function_vectors
from lens_steer.experiments.function_vectors.study import STUDY
from lens_steer.extraction.function_vector import Demonstrations
from lens_steer.figures import save_figure

HERE = Path(__file__).parent
RESULTS, NEUTRAL = HERE / "results", HERE.parent / "sentiment" / "data" / "neutral.txt"
TASKS = ("antonyms", "capitals", "sentiment_labels")


def main() -> None:
    """Writes the tables of the study and its figure."""
    tasks = [read(HERE / "data" / f"{name}.csv").task() for name in TASKS]
    settings = FunctionVectors(
        layers=tuple(range(2, 30, 3)),
        strengths=(1, 2, 4),
        demonstrations=Demonstrations(n_shots=5, n_prompts=20, n_corrupted=10),
    )
    neutral = read(NEUTRAL, each="line").texts()
    found = compare_function_vectors(load_model("smollm2"), tasks, neutral, settings, progress=True)
    found.save(RESULTS / "function_vectors")
    for name, (figure, data) in STUDY.drawn(found).items():
        save_figure(figure, data, RESULTS, name)


if __name__ == "__main__":
    main()
