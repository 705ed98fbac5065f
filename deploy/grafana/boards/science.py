"""Science: whether slices and results look as they should."""

from __future__ import annotations

from deploy.grafana.panels import Board, Panel, Query, Row

ONE = '{acquisition=~"$acquisition"}'

SLICES = Row(
    "Slices",
    (
        Panel(
            "How bright are slices?",
            "Mean 8-bit grey of the last slice, and what was usual in the last six hours.",
            (
                Query(f"fibsem:slice_intensity:mean{ONE}", "{{acquisition}}"),
                Query(f"fibsem:slice_intensity:usual{ONE}", "{{acquisition}} usual"),
            ),
            unit="none",
            runbook="QualityDrift",
        ),
        Panel(
            "How far from usual?",
            "In standard deviations of the last six hours; beyond four for ten minutes is an alert.",
            (Query(f"abs(fibsem:slice_intensity:zscore{ONE})", "{{acquisition}}"),),
            unit="none",
            warn=3,
            alarm=4,
            runbook="QualityDrift",
        ),
        Panel(
            "Nuclei in a slice",
            "Mean over 15 minutes. It changes slowly; a jump is a change of the sample, the beam or the detection.",
            (Query(f"fibsem:slice_nuclei:mean{ONE}", "{{acquisition}}"),),
            unit="none",
        ),
    ),
)

TROUBLES = Row(
    "Quality of slices",
    (
        Panel(
            "What is wrong with slices?",
            "Slices of the last ten minutes with something wrong, by what it is. Each is flagged in the results.",
            (Query(f"fibsem:slices_troubled:increase10m{ONE}", "{{acquisition}} {{reason}}"),),
            kind="steps",
            unit="none",
            width=6,
            runbook="SliceTroubled",
        ),
        Panel(
            "How bad was the last slice?",
            "Its worst trouble in thresholds, which are learned from the run: 1 and more is flagged.",
            (Query(f"max by (acquisition) (fibsem_slice_trouble_ratio{ONE})", "{{acquisition}}"),),
            unit="none",
            width=6,
            warn=1,
            alarm=2,
            runbook="SliceTroubled",
        ),
        Panel(
            "Troubles in a thousand slices",
            "Since the follower started. Good acquisitions have one or none.",
            (
                Query(
                    f"1000 * sum by (acquisition) (fibsem_slices_troubled_total{ONE})"
                    f" / sum by (acquisition) (fibsem_slices_judged_total{ONE})",
                    "{{acquisition}}",
                ),
            ),
            unit="none",
            width=6,
        ),
        Panel(
            "Depth milled",
            "Before the last slice, in units of the usual. 0: nothing was milled; 2: twice as much.",
            (Query(f"max by (acquisition) (fibsem_slice_thickness_ratio{ONE})", "{{acquisition}}"),),
            unit="none",
            width=6,
            runbook="SlicesTroubled",
        ),
        Panel(
            "Slices that agree with none before them",
            "Of the last hour, where slices are registered. They lie where the one before them lies.",
            (Query(f"fibsem:slices_unlinked:increase1h{ONE}", "{{acquisition}}"),),
            kind="steps",
            unit="none",
            width=24,
            warn=1,
            alarm=3,
            runbook="SlicesUnlinked",
        ),
    ),
)

NUCLEI = Row(
    "Nuclei",
    (
        Panel(
            "Nuclei that still grow",
            "Followed through z at this moment.",
            (Query(f"max by (acquisition) (fibsem_nuclei_open{ONE})", "{{acquisition}}"),),
            kind="steps",
            unit="none",
            width=12,
        ),
        Panel(
            "Nuclei opened and closed",
            "Since the follower started. Every one that opens closes; many short ones mean that tracks break.",
            (
                Query(f"sum by (acquisition) (fibsem_nuclei_opened_total{ONE})", "opened {{acquisition}}"),
                Query(f"sum by (acquisition) (fibsem_nuclei_closed_total{ONE})", "closed {{acquisition}}"),
            ),
            kind="steps",
            unit="none",
            width=12,
        ),
    ),
)

PLANES = Row(
    "Label planes",
    (
        Panel(
            "Connected regions in a plane, by class",
            "Mean over 15 minutes. A pachytene nucleus shows about a dozen of chromosome.",
            (Query("fibsem:crop_components:mean", "{{label_class}}"),),
            unit="none",
        ),
        Panel(
            "How sure are the networks, by class?",
            "Mean probability of the class they chose. A slow fall is a drift of the images away from the training.",
            (Query("fibsem:crop_confidence:mean", "{{label_class}}"),),
            unit="percentunit",
        ),
        Panel(
            "How sure in the worst tenth of planes?",
            "One plane in ten is below.",
            (
                Query(
                    "histogram_quantile(0.1, sum by (label_class, le)"
                    " (rate(fibsem_crop_confidence_ratio_bucket[15m])))",
                    "{{label_class}}",
                ),
            ),
            unit="percentunit",
        ),
    ),
)

NETWORKS = Row(
    "Networks",
    (
        Panel(
            "Does a candidate agree with the networks in use?",
            "Dice of each class on the same crops, and equal pixels. Low is another opinion, not a worse one.",
            (
                Query("avg by (model, label_class) (fibsem_shadow_dice_ratio)", "{{model}} {{label_class}}"),
                Query("avg by (model) (fibsem_shadow_equal_ratio)", "{{model}} equal pixels"),
            ),
            unit="percentunit",
        ),
        Panel(
            "How far is the training?",
            "Share of the steps taken, and macro F1 on the images that judge it.",
            (
                Query("max by (model) (fibsem_training_progress_ratio)", "{{model}} steps"),
                Query("max by (model) (fibsem_training_macro_f1_ratio)", "{{model}} macro F1"),
            ),
            unit="percentunit",
        ),
        Panel(
            "Do training and validation part?",
            "Loss of the last steps and of the last validation. More steps do not help where validation rises.",
            (Query("max by (model, part) (fibsem_training_loss)", "{{model}} {{part}}"),),
            unit="none",
        ),
        Panel(
            "Trainings",
            "Whether a network is trained at this moment, and how those before ended since the trainer started.",
            (
                Query("max(fibsem_training_active)", "at work"),
                Query("sum by (outcome) (fibsem_trainings_total)", "{{outcome}}"),
            ),
            kind="steps",
            unit="none",
            width=12,
        ),
        Panel(
            "Crops compared",
            "Segmented by the candidate as well as by the networks in use, since the comparison started.",
            (Query("sum by (model) (fibsem_shadow_crops_total)", "{{model}}"),),
            kind="steps",
            unit="none",
            width=12,
        ),
    ),
)

BOARD = Board(
    "fibsem-science",
    "Science",
    "Do slices and results look as they should?",
    (SLICES, TROUBLES, NUCLEI, PLANES, NETWORKS),
)
