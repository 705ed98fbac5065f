"""What a reader should look at twice: flags of nuclei, and the ledger's account of every z."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from services.report.content import LedgerRow, NucleusRow, ReportData

WHOLE_NUCLEUS_UM3 = (10.0, 60.0)  # what the field accepts as a pachytene nucleus
NUCLEOLUS_SHARE = (0.02, 0.25)

_SIDES = {
    "z_first": "first slice",
    "z_last": "last slice",
    "y_first": "top",
    "y_last": "bottom",
    "x_first": "left",
    "x_last": "right",
}


@dataclass(frozen=True)
class Flag:
    """Something to know about a nucleus; `kind` (good, note, warn) chooses its colour."""

    text: str
    kind: str


@dataclass(frozen=True)
class Account:
    """The ledger, summed up.

    Parameters
    ----------
    states
        State and number of rows, most frequent first.
    slices
        Different z in the ledger.
    gaps
        z between the first and the last that no row names.
    unaccounted
        Gaps, and z whose rows all still wait for something.
    remarks
        Rows with anything to say: every gap, dead letter, repeat, conflict, absence.
    """

    states: tuple[tuple[str, int], ...]
    slices: int
    gaps: tuple[int, ...]
    unaccounted: int
    remarks: tuple[LedgerRow, ...]


def side_name(side: str) -> str:
    """Return where a face of the acquisition lies, as a reader sees it in a picture.

    Examples
    --------
    >>> side_name("Y_FIRST"), side_name("elsewhere")
    ('top', 'elsewhere')
    """
    return _SIDES.get(side.lower(), side)


def flags_of(nucleus: NucleusRow) -> tuple[Flag, ...]:
    """Return the flags of a nucleus, the most important first.

    Examples
    --------
    >>> [flag.text for flag in flags_of(NucleusRow("n1", 0, 9, clipped=("X_LAST",), bridged_planes=2))]
    ['clipped: right', '2 bridged planes']
    """
    flags = []
    if not nucleus.is_closed:
        flags.append(Flag("open: more slices expected", "warn"))
    if nucleus.clipped:
        flags.append(Flag("clipped: " + ", ".join(side_name(side) for side in nucleus.clipped), "note"))
    if nucleus.is_whole:
        flags.append(Flag("whole", "good"))
    if nucleus.is_whole and not nucleus.has_right_count:
        expected = nucleus.expected_chromosomes
        flags.append(Flag(f"{nucleus.chromosome_count} chromosomes, expected {expected}", "warn"))
    if nucleus.continues:
        flags.append(Flag(f"continues {nucleus.continues}", "note"))
    if nucleus.bridged_planes:
        flags.append(Flag(_planes(nucleus.bridged_planes, "bridged"), "note"))
    if nucleus.absent_planes:
        flags.append(Flag(_planes(nucleus.absent_planes, "absent"), "warn"))
    return tuple(flags)


def doubts_about(nucleus: NucleusRow) -> tuple[str, ...]:
    """Return reasons to look at a whole nucleus by eye; a nucleus that is not whole cannot be judged by its numbers."""
    if not nucleus.is_whole:
        return ()
    doubts = []
    if not nucleus.has_right_count:
        doubts.append(f"{nucleus.chromosome_count} chromosomes instead of {nucleus.expected_chromosomes}")
    volume, nucleolus = nucleus.volume_um3, nucleus.nucleolus_volume_um3
    low, high = WHOLE_NUCLEUS_UM3
    if volume is not None and not low <= volume <= high:
        doubts.append(f"volume {volume:.1f} \u00b5m\u00b3 outside {low:g} to {high:g}")
    if volume and nucleolus is not None and not NUCLEOLUS_SHARE[0] <= nucleolus / volume <= NUCLEOLUS_SHARE[1]:
        doubts.append(f"nucleolus takes {nucleolus / volume:.1%} of the nucleus")
    if nucleus.checks_failed:
        doubts.append(f"{nucleus.checks_failed} failed check{'' if nucleus.checks_failed == 1 else 's'}")
    if nucleus.absent_planes:
        doubts.append(_planes(nucleus.absent_planes, "absent"))
    return tuple(doubts)


def account_for(ledger: Sequence[LedgerRow]) -> Account:
    """Sum up a ledger.

    Examples
    --------
    >>> account_for([LedgerRow(0, "done"), LedgerRow(2, "missing", "declared")]).gaps
    (1,)
    """
    states = Counter(row.state for row in ledger)
    known: dict[int, bool] = {}
    for row in ledger:
        if row.z is not None:
            known[row.z] = known.get(row.z, False) or row.is_accounted
    gaps = tuple(z for z in range(min(known), max(known) + 1) if z not in known) if known else ()
    return Account(
        states=tuple(sorted(states.items(), key=lambda item: (-item[1], item[0]))),
        slices=len(known),
        gaps=gaps,
        unaccounted=len(gaps) + sum(not accounted for accounted in known.values()),
        remarks=tuple(row for row in ledger if not row.is_plain),
    )


@dataclass(frozen=True)
class KeyNumber:
    """A figure that the page opens with; `kind` (plain, good, warn) chooses its colour."""

    value: str
    label: str
    note: str
    kind: str = "plain"


def key_numbers(data: ReportData) -> tuple[KeyNumber, ...]:
    """Return the figures that the page opens with."""
    account = account_for(data.ledger)
    whole = [n for n in data.nuclei if n.is_whole]
    clipped = sum(bool(n.clipped) for n in data.nuclei)
    still_open = sum(not n.is_closed for n in data.nuclei)
    numbers = [
        KeyNumber(f"{account.slices:,}" if data.ledger else "\u2013", "slices", _remarks_note(account)),
        KeyNumber(str(len(whole)), "whole nuclei", f"{clipped} clipped, {still_open} open"),
        _count_number(whole),
        *_volume_number(whole),
    ]
    if data.ledger:
        kind = "warn" if account.unaccounted else "good"
        numbers.append(KeyNumber(str(account.unaccounted), "slices unaccounted for", "0 closes the ledger", kind))
    if data.timing and data.timing.wall_s and account.slices:
        rate = account.slices / data.timing.wall_s
        numbers.append(KeyNumber(f"{rate:.3g}", "slices per second", f"{data.timing.wall_s:.0f} s in all"))
    macro = dict(data.scores.averages).get("f1_macro") if data.scores else None
    if macro is not None:
        numbers.append(KeyNumber(f"{macro:.3f}", "macro F1", "against the known truth"))
    return tuple(numbers)


def _count_number(whole: Sequence[NucleusRow]) -> KeyNumber:
    counted = [n for n in whole if n.chromosome_count is not None]
    counts = sorted({n.chromosome_count or 0 for n in counted})
    if not counts:
        return KeyNumber("\u2013", "chromosomes per nucleus", "no whole nucleus counted")
    right = sum(n.has_right_count for n in counted)
    shown = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}\u2013{counts[-1]}"
    kind = "good" if right == len(counted) else "warn"
    note = f"{right} of {len(counted)} have {counted[0].expected_chromosomes}"
    return KeyNumber(shown, "chromosomes per nucleus", note, kind)


def _volume_number(whole: Sequence[NucleusRow]) -> tuple[KeyNumber, ...]:
    volumes = [n.volume_um3 for n in whole if n.volume_um3 is not None]
    if not volumes:
        return ()
    spread = f"{min(volumes):.1f} to {max(volumes):.1f}"
    return (KeyNumber(f"{sum(volumes) / len(volumes):.1f}", "\u00b5m\u00b3 mean nuclear volume", spread),)


def _remarks_note(account: Account) -> str:
    return f"{len(account.remarks)} with remarks" if account.slices else "no ledger"


def _planes(count: int, what: str) -> str:
    return f"{count} {what} plane{'' if count == 1 else 's'}"
