"""Compares what a run found with what is true: pixels, nuclei, chromosomes."""

from services.evaluation.scores import Scores, format_scores
from services.evaluation.scoring import evaluate

__all__ = ["Scores", "evaluate", "format_scores"]
