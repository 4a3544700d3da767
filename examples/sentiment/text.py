"""Sentiment in what SmolLM2 writes, judged by gemma-3: about eight minutes on one thread; run likelihood.py first."""

from data import RESULTS, judged, lines, operating_point, vectors

from lens_steer import load_model
from lens_steer.evaluation.judge import QuestionJudge
from lens_steer.experiments.steered_text import SteeredText, steer_text
from lens_steer.experiments.steered_text.study import STUDY
from lens_steer.figures import save_figure

QUESTION = "Review: {text}\nSentiment:"


def main() -> None:
    """Writes the tables of the study and its figures."""
    model, judge = load_model("smollm2"), QuestionJudge(model=load_model("gemma3"), question=QUESTION).log_odds
    vector, shuffled = vectors(model)
    prompts, neutral = lines("prompts.txt"), lines("neutral.txt")
    settings = SteeredText(
        site=operating_point()[0],
        strengths=(-0.4, -0.2, 0.2, 0.4),
        scale="relative",
        mapped=("resid_post@8", "resid_post@23"),
        new_tokens=12,
        max_tokens=48,
    )
    split = (prompts[::2], prompts[1::2])
    found = steer_text(model, vector, split, judge, judged(), neutral, settings, shuffled, progress=True)
    found.save(RESULTS / "steered_text")
    for name, (figure, data) in STUDY.drawn(found).items():
        save_figure(figure, data, RESULTS, name)


if __name__ == "__main__":
    main()
