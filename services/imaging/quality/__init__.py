"""Quality of slices: scores of one slice, scores of a slice and those before it, and what is usual for a run.

`single.measured` and `reducing.reduced` look at one slice; `sequence.judge_next` takes slices in z order.
"""
