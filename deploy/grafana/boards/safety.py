"""Is my acquisition safe? What an operator looks at once a day, and whenever called."""

from __future__ import annotations

from deploy.grafana.panels import Board, Panel, Query, Row, number

ONE = '{acquisition=~"$acquisition"}'

NUMBERS = Row(
    "Safe?",
    (
        number(
            "Alerts that call somebody",
            "Firing alerts of severity page. Nothing needs you while this is 0.",
            (Query('count(ALERTS{alertstate="firing", severity="page"}) or vector(0)', "pages"),),
            alarm=1,
        ),
        number(
            "Since the last slice",
            "A slice takes 75 s or 135 s. Four periods without one are an alert.",
            (
                Query(
                    f"time() - max by (acquisition) (fibsem_slice_last_seen_timestamp_seconds{ONE})", "{{acquisition}}"
                ),
            ),
            unit="s",
            warn=270,
            alarm=540,
            runbook="AcquisitionStalled",
        ),
        number(
            "Slices missing",
            "z before the newest one that have not come. Nuclei there wait for them, or for a decision.",
            (Query(f"max by (acquisition) (fibsem_slices_missing{ONE})", "{{acquisition}}"),),
            warn=1,
            alarm=3,
            runbook="SliceGap",
        ),
        number(
            "In no ledger",
            "Files and z that no entry explains. Anything but 0 is a bug of ours.",
            (Query(f"max by (acquisition) (fibsem_slices_unaccounted{ONE})", "{{acquisition}}"),),
            alarm=1,
            runbook="SliceUnaccounted",
        ),
        number(
            "Disk lasts",
            "At the rate of the last six hours, for the disk the microscope writes to.",
            (Query("fibsem:disk_left:seconds", "{{volume}}"),),
            unit="s",
            warn=604800,
            alarm=172800,
            low_is_bad=True,
            runbook="DiskWillFill",
        ),
        number(
            "Faster than the microscope",
            "How many times over the slowest measured stage could keep up. Below 1 it falls behind.",
            (Query("min(fibsem:realtime:factor)", "times"),),
            unit="none",
            warn=2,
            alarm=1,
            low_is_bad=True,
            runbook="FallingBehind",
        ),
    ),
)

ADVICE = Row(
    "What to do? (`fibsem-nuclei advise` says it in words)",
    (
        number(
            "Slices to go on",
            "Until the nuclei that are more than half milled have ended, with 90 %. 0: none is open.",
            (Query(f"max by (acquisition) (fibsem_forecast_slices_to_go{ONE})", "{{acquisition}}"),),
            unit="none",
        ),
        number(
            "Time to go on",
            "The same at the pace of the microscope.",
            (
                Query(
                    f"max by (acquisition) (fibsem_forecast_slices_to_go{ONE})"
                    " * on (acquisition) fibsem:slice_interval:seconds",
                    "{{acquisition}}",
                ),
            ),
            unit="s",
        ),
        number(
            "Nuclei complete",
            "Seen from end to end, cut by neither a border of the field nor the first slice.",
            (Query(f"max by (acquisition) (fibsem_nuclei_complete{ONE})", "{{acquisition}}"),),
            unit="none",
        ),
        number(
            "Nuclei cut by stopping now",
            "Expected number of open nuclei that would not be complete.",
            (Query(f"max by (acquisition) (fibsem_forecast_nuclei_unfinished{ONE})", "{{acquisition}}"),),
            unit="none",
        ),
        number(
            "Will a nucleus leave the field?",
            "Greatest chance of an open nucleus to be cut by a border before it ends.",
            (Query(f"max by (acquisition) (fibsem_forecast_field_exit_ratio{ONE})", "{{acquisition}}"),),
            unit="percentunit",
            warn=0.2,
            alarm=0.5,
            runbook="NucleusLeavesField",
        ),
        number(
            "Shift of the field",
            "That keeps the nuclei, towards greater y (down) and greater x (right); 0: none is needed, or none helps.",
            (
                Query(
                    f"max by (acquisition, direction) (fibsem_forecast_field_shift_meters{ONE})",
                    "{{acquisition}} {{direction}}",
                ),
            ),
            unit="lengthm",
        ),
    ),
)

PROGRESS = Row(
    "Progress",
    (
        Panel(
            "How far is each stage?",
            "Last z up to which a stage is complete. The lines climb together; one that stays flat holds up all below.",
            (
                Query(
                    f"max by (acquisition, stage) (fibsem_slice_frontier_index{ONE})",
                    "{{acquisition}} {{stage}}",
                ),
            ),
            kind="steps",
            unit="none",
            width=12,
        ),
        Panel(
            "Slices an hour, seen and done",
            "What the microscope writes, and what each stage is done with. 48 an hour at 75 s, 27 at 135 s.",
            (
                Query(f"fibsem:slices_seen:rate10m{ONE} * 3600", "seen {{acquisition}}"),
                Query("fibsem:slices:rate10m * 3600", "{{stage}}"),
            ),
            unit="none",
            width=12,
        ),
        Panel(
            "How old are slices when a stage is done with them?",
            "95 % are younger. Label planes more than five slice periods late are an alert.",
            (Query("fibsem:slice_age_seconds:p95", "{{stage}}"),),
            unit="s",
            warn=135,
            alarm=675,
            runbook="FallingBehind",
            width=12,
        ),
        Panel(
            "How long does a slice take?",
            "Pace of the microscope. A change here is a change there.",
            (Query(f"fibsem:slice_interval:seconds{ONE}", "{{acquisition}}"),),
            unit="s",
            width=6,
        ),
        Panel(
            "Is the acquisition running?",
            "1 while slices may come.",
            (Query(f"fibsem:acquisition:active{ONE}", "{{acquisition}}"),),
            kind="states",
            unit="none",
            width=6,
        ),
    ),
)

STATES = Row(
    "What needs somebody",
    (
        Panel(
            "Alerts",
            "What fires, and since when. The watchdog always does.",
            (Query('max by (alertname, severity) (ALERTS{alertstate="firing"})', "{{alertname}} ({{severity}})"),),
            kind="states",
            unit="none",
            width=12,
            runbook="Watchdog",
        ),
        Panel(
            "Which services answer?",
            "1: every replica answers; 0: one does not. A service that is gone has no line any more.",
            (Query("min by (job) (up)", "{{job}}"),),
            kind="states",
            unit="none",
            alarm=1,
            low_is_bad=True,
            width=12,
            runbook="TargetDown",
        ),
    ),
)

BOARD = Board(
    "fibsem-safety",
    "Is my acquisition safe?",
    "One look: do slices come, is every one accounted for, does the system keep up, is there room.",
    (NUMBERS, ADVICE, PROGRESS, STATES),
)
