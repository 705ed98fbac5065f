"""Judging slices one after another: what is usual is learned from the slices that were good.

Slices come in z order. For every quantity the last good values and the last deviations from them are kept, so many and
no more; medians of them say what is usual and how much it varies. Nothing depends on a clock or on anything behind the
slice: each is judged at once, by itself and the slices before it.

The first `WARM_UP` good slices of a run only teach: of them repeated frames and blank slices alone are told. After
`GIVE_UP` spoilt slices in a row what was learned is forgotten, and the present state is learned as the usual one.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from services.imaging.quality.kinds import RULES, SPOILING, Quantity, Rule, Trouble
from services.imaging.quality.pairs import PairScores
from services.imaging.quality.reducing import Reduced
from services.imaging.quality.single import SingleScores

WARM_UP = 8
GIVE_UP = 20
RECENT = 12
REMEMBERED = 64
LONGEST_GAP = 4
_SAME_IMAGE = 0.3
_ALIEN = 0.7
_UNMILLED_THICKNESS = 0.4
_BLANK_GREY = 0.5
_BLANK_SHARE = 0.2
_USUAL_EXPONENT, _EXPONENTS = 1.4, (0.8, 2.2)
_POLE_UM = 2 * math.pi * 2.3
"""Circumference of a nucleus of 2.3 um radius: times a depth, the area of it that so much milling lays open at once."""
_INEXPERIENCE = 64.0
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned of one quantity: the last good values, and how far each lay from those before it."""

    values: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()

    @property
    def usual(self) -> float:
        """Median of the last good values; 0 before there is one."""
        return statistics.median(self.values) if self.values else 0.0

    @property
    def spread(self) -> float:
        """Robust standard deviation of the deviations."""
        return 1.4826 * statistics.median(map(abs, self.deviations)) if self.deviations else 0.0

    def extreme(self, sign: int) -> float:
        """Return the largest deviation upwards (1), downwards (-1) or either way (0)."""
        return max((abs(d) if sign == 0 else sign * d for d in self.deviations), default=0.0)

    def taught(self, value: float, deviation: float) -> Learned:
        """Take in a good value, to five digits; the oldest is forgotten when there are enough."""
        kept, apart = float(f"{value:.5g}"), float(f"{deviation:.5g}")
        return Learned((*self.values, kept)[-RECENT:], (*self.deviations, apart)[-REMEMBERED:])


@dataclass(frozen=True, slots=True)
class Memory:
    """What judging remembers, of a size that does not grow with the run.

    Attributes
    ----------
    learned
        By quantity.
    exponents
        Of the last good slices: by which power of the depth they decorrelate.
    last
        Quantities of the reference: the last slice that was fit to compare with.
    previous
        Quantities of the slice before, were it good or not.
    good
        Good slices since the beginning, or since what was learned was forgotten.
    spoilt
        Spoilt slices in a row.
    """

    learned: Mapping[Quantity, Learned] = dataclasses.field(default_factory=dict)
    exponents: tuple[float, ...] = ()
    last: Mapping[Quantity, float] = dataclasses.field(default_factory=dict)
    previous: Mapping[Quantity, float] = dataclasses.field(default_factory=dict)
    good: int = 0
    spoilt: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of trouble of a slice.

    Attributes
    ----------
    trouble
        Which.
    severity
        How far the slice is from what is usual, in thresholds: 1 and more.
    quantity, value, usual
        What told it, its value, and what was usual.
    """

    trouble: Trouble
    severity: float
    quantity: str
    value: float
    usual: float


@dataclass(frozen=True, slots=True)
class Beside:
    """Comparisons of a slice with those before it.

    Attributes
    ----------
    reference
        With the last slice that was fit to compare with.
    depth_um
        Nominal depth from that to this.
    gap
        Slices from that to this: 1 for neighbours.
    earlier
        With the reference's own reference, if that lay as far before it.
    """

    reference: PairScores
    depth_um: float
    gap: int = 1
    earlier: PairScores | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of a slice.

    Attributes
    ----------
    findings
        Kinds of trouble, the worst first; none for a good slice.
    thickness
        Depth milled since the slice before, in units of the usual, on average since the reference; NaN where nothing
        can be compared.
    quantities
        All that was measured, by name.
    """

    findings: tuple[Finding, ...]
    thickness: float
    quantities: Mapping[Quantity, float]

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """Kinds of trouble alone."""
        return tuple(finding.trouble for finding in self.findings)

    @property
    def reliable(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def spoilt(self) -> bool:
        """Whether the image itself is unfit to compare others with."""
        return any(trouble in SPOILING for trouble in self.troubles)


def judge(memory: Memory, single: SingleScores, reduced: Reduced, beside: Beside | None) -> tuple[Memory, Verdict]:
    """Judge the next slice.

    Parameters
    ----------
    memory
        What was learned so far; ``Memory()`` before the first slice.
    single, reduced
        Measures of the slice, and its reduced plane, of which the powers of structure and noise are taken.
    beside
        Comparison with the reference; None where there is none, or it lies too far back.

    Returns
    -------
    tuple
        What is remembered from now on, and the verdict.
    """
    if beside is not None and beside.gap > LONGEST_GAP:
        beside = None
    quantities = _quantities(single, reduced, beside)
    thickness = _thickness(memory, beside)
    findings = {finding.trouble: finding for finding in _absolute(memory, quantities, beside)}
    if Trouble.REPEATED_FRAME not in findings and Trouble.BLANK not in findings and memory.good >= WARM_UP:
        for finding in _unusual(memory, quantities):
            known = findings.get(finding.trouble)
            if known is None or known.severity < finding.severity:
                findings[finding.trouble] = finding
        if thickness < _UNMILLED_THICKNESS and beside is not None and beside.gap == 1:
            unmilled = _unmilled(thickness)
            findings[unmilled.trouble] = unmilled
    ordered = tuple(sorted(findings.values(), key=lambda found: (-found.severity, found.trouble)))
    verdict = Verdict(ordered, thickness, quantities)
    return _remembered(memory, verdict, beside), verdict


def _quantities(single: SingleScores, reduced: Reduced, beside: Beside | None) -> dict[Quantity, float]:
    found: dict[Quantity, float] = {
        "mean_grey": single.mean_grey,
        "log_contrast": _log(single.contrast_grey),
        "log_structure": _log(reduced.structure_grey2) / 2,
        "log_noise": _log(reduced.noise_grey2) / 2,
        "clipped_pct": single.clipped_pct,
        "log_sharpness": (_log(single.sharpness_y) + _log(single.sharpness_x)) / 2,
        "log_anisotropy": _log(single.sharpness_y) - _log(single.sharpness_x),
        "log_stripe": _log(single.stripe_ratio),
        "log_tear": _log(max(single.tear_ratio, 1.0)),
        "curtain_pct2": _power(single.curtain_pct),
        "tail_pct": single.tail_pct,
    }
    if beside is not None:
        found |= _pair_quantities(beside)
    return found


def _pair_quantities(beside: Beside) -> dict[Quantity, float]:
    """Return what the comparison gives; of two slices that have nothing in common only that."""
    pair = beside.reference
    found: dict[Quantity, float] = {"log_sameness": _log(pair.sameness)}
    if beside.gap == 1:
        # Over a gap nobody knows how much of the depth belongs to which slice.
        found["log_decorrelation"] = _log(pair.decorrelation)
    if pair.decorrelation > _ALIEN:
        return found
    return found | {
        "shift_nm": math.hypot(pair.shift_y_nm, pair.shift_x_nm),
        "new_um2": max(0.0, pair.new_um2 - _POLE_UM * beside.depth_um),
        "tail_change_pct": pair.tail_change_pct,
        # The specimen itself changes with depth.
        "slow_change_grey": pair.slow_change_grey / beside.gap,
        "curtain_change_pct2": _power(pair.curtain_change_pct) / beside.gap,
    }


def _log(value: float) -> float:
    return math.log(max(value, _TINY))


def _power(value: float) -> float:
    return math.copysign(value * value, value)


def _exponent(memory: Memory) -> float:
    """By which power of the depth the run decorrelates, from slices compared over one and over two."""
    if len(memory.exponents) < WARM_UP:
        return _USUAL_EXPONENT
    low, high = _EXPONENTS
    return min(high, max(low, statistics.median(memory.exponents)))


def _thickness(memory: Memory, beside: Beside | None) -> float:
    learned = memory.learned.get("log_decorrelation")
    if learned is None or beside is None or len(learned.values) < WARM_UP // 2:
        return math.nan
    deeper = _log(beside.reference.decorrelation) - learned.usual
    return math.exp(deeper / _exponent(memory)) / beside.gap


def _absolute(memory: Memory, quantities: Mapping[Quantity, float], beside: Beside | None) -> list[Finding]:
    """Tell what needs no learning of how much the run varies."""
    usual = math.exp(memory.learned["log_structure"].usual) if "log_structure" in memory.learned else 0.0
    limit, found = max(_BLANK_GREY, _BLANK_SHARE * usual), math.exp(quantities["log_structure"])
    if found < limit:
        severity = limit / max(found, 0.01)
        return [Finding(Trouble.BLANK, severity, "log_structure", quantities["log_structure"], _log(usual))]
    if beside is not None and beside.reference.sameness < _SAME_IMAGE:
        severity = _SAME_IMAGE / max(beside.reference.sameness, 0.01)
        return [Finding(Trouble.REPEATED_FRAME, severity, "log_sameness", quantities["log_sameness"], 0.0)]
    return []


def _unmilled(thickness: float) -> Finding:
    severity = _UNMILLED_THICKNESS / max(thickness, 0.01)
    return Finding(Trouble.SKIPPED_MILLING, severity, "log_decorrelation", _log(thickness), 0.0)


def _unusual(memory: Memory, quantities: Mapping[Quantity, float]) -> list[Finding]:
    found = []
    for rule in RULES:
        value, learned = quantities.get(rule.quantity), memory.learned.get(rule.quantity)
        if value is None or learned is None or len(learned.deviations) < WARM_UP // 2:
            continue
        usual = _centre(rule, memory, learned, value)
        excess = value - usual if rule.sign > 0 else usual - value if rule.sign < 0 else abs(value - usual)
        severity = excess / _limit(rule, learned)
        if severity >= 1:
            found.append(Finding(rule.trouble, severity, rule.quantity, value, usual))
    return found


def _limit(rule: Rule, learned: Learned) -> float:
    """Return the threshold; few examples show little of how much the run varies, and so give a wider one."""
    variation = learned.spread if rule.by == "spread" else learned.extreme(rule.sign)
    margin = 1 + _INEXPERIENCE / len(learned.deviations) ** 2
    return margin * max(rule.deviations * variation, rule.least)


_AGAINST_REFERENCE = frozenset(rule.quantity for rule in RULES if rule.against_reference)


def _centre(rule: Rule, memory: Memory, learned: Learned, value: float) -> float:
    """Return what a value is compared with; a step is told once, neither where it stays nor where it goes back."""
    if not rule.against_reference:
        return learned.usual
    before = [known[rule.quantity] for known in (memory.last, memory.previous) if rule.quantity in known]
    return min([*before, learned.usual], key=lambda known: abs(known - value))


def _remembered(memory: Memory, verdict: Verdict, beside: Beside | None) -> Memory:
    if verdict.spoilt:
        if memory.spoilt + 1 >= GIVE_UP:
            return Memory()
        return dataclasses.replace(memory, previous=dict(verdict.quantities), spoilt=memory.spoilt + 1)
    learned = dict(memory.learned)
    told = {finding.quantity for finding in verdict.findings}
    for name, value in verdict.quantities.items():
        # What told of trouble is not what is usual: a jump of the field does not widen the limit for the next.
        if name in told or (name == "log_decorrelation" and Trouble.SKIPPED_MILLING in verdict.troubles):
            continue
        before = learned.get(name, Learned())
        centre = memory.last.get(name, before.usual) if name in _AGAINST_REFERENCE else before.usual
        learned[name] = before.taught(value, value - centre) if before.values else Learned((value,))
    seen = dict(verdict.quantities)
    return Memory(learned, _exponents(memory, verdict, beside), seen, seen, memory.good + 1, 0)


def _exponents(memory: Memory, verdict: Verdict, beside: Beside | None) -> tuple[float, ...]:
    if beside is None or beside.earlier is None or not verdict.reliable:
        return memory.exponents
    near, far = beside.reference.decorrelation, beside.earlier.decorrelation
    if not 0 < near < far < 1:
        return memory.exponents
    return (*memory.exponents, math.log2(far / near))[-REMEMBERED:]
