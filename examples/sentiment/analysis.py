"""The sentiment vector of SmolLM2 taken apart: about four minutes on one thread; run likelihood.py first."""

from data import RESULTS, continuations, lines, operating_point, vectors

from lens_steer import load_model
from lens_steer.analysis.attribution import token_contrast
from lens_steer.experiments.vector_analysis import VectorAnalysis, analyse_vector
from lens_steer.experiments.vector_analysis.study import STUDY
from lens_steer.figures import save_figure


def main() -> None:
    """Writes the tables of the study and its figures."""
    model = load_model("smollm2")
    vector, shuffled = vectors(model)
    site, strength = operating_point()
    settings = VectorAnalysis(
        site=site,
        strength=strength,
        positions="all",
        sites=("resid_post@5", "resid_post@11", "resid_post@17", "resid_post@23", "resid_post@29"),
        scale="relative",
        text_strength=strength,
    )
    asked = token_contrast(model, [item.stem for item in continuations().test], " wonderful", " terrible")
    named = {"sentiment": vector, shuffled[0].name: shuffled[0]}
    found = analyse_vector(model, "sentiment", named, asked, lines("neutral.txt"), settings)
    found.save(RESULTS / "vector_analysis")
    for name, (figure, data) in STUDY.drawn(found).items():
        save_figure(figure, data, RESULTS, name)


if __name__ == "__main__":
    main()
