"""The table of slices, and the marks of unreliable ones on what they cross."""

from __future__ import annotations

import math
import random

from services.contracts.messages import SliceJudged
from services.contracts.rows import ChromosomeRow, NucleusRow, ObjectRow
from services.contracts.values import AbsenceReason, SliceScore, SliceTrouble
from services.results.events import event_of
from services.results.quality import SliceBook, slice_row


def judged(z: int, trouble: str = "", absent: AbsenceReason | None = None) -> SliceJudged:
    troubles = (SliceTrouble(trouble=trouble or "none", severity=2.5, quantity="mean_grey", value=150.0, usual=130.0),)
    return SliceJudged(
        acquisition_id="a",
        z=z,
        troubles=troubles if trouble else (),
        thickness_nm=None if absent else 16.5,
        scores=() if absent else (SliceScore(quantity="log_sharpness", value=math.log(0.5)),),
        absent=absent,
    )


def book(*messages: SliceJudged) -> SliceBook:
    found = SliceBook()
    for message in messages:
        found.take(message)
    return found


def nucleus(z_first: int, z_last: int | None) -> NucleusRow:
    return NucleusRow(nucleus_id="n1", z_first=z_first, z_last=z_last, state="open" if z_last is None else "closed")


def an_object(z0: int, z1: int, chromosome: int | None = None) -> ObjectRow:
    box = {"z0": z0, "y0": 0, "x0": 0, "z1": z1, "y1": 2, "x1": 2}
    place = {"centroid_z_nm": 1.0, "centroid_y_nm": 1.0, "centroid_x_nm": 1.0}
    flags = {"touches_border": False, "open": False, "bridged": False}
    named = {"nucleus_id": "n1", "object_id": 1, "class": "chromosome", "voxels": 4, "volume_um3": 0.1}
    named["chromosome"] = chromosome
    return ObjectRow.model_validate(named | box | place | flags)


def a_chromosome(number: int) -> ChromosomeRow:
    sizes = dict.fromkeys(("volume_um3", "volume_low_um3", "volume_high_um3", "contact_area_um2"), 0.1)
    touched = {"contacts": 0, "nucleolus_contact_um2": 0.0, "envelope_contact_um2": 0.0}
    place = {"centroid_z_nm": 1.0, "centroid_y_nm": 1.0, "centroid_x_nm": 1.0}
    named = {"nucleus_id": "n1", "chromosome": number, "complete": True}
    return ChromosomeRow.model_validate(named | sizes | touched | place)


SLICES = (judged(3), judged(4, "defocus"), judged(5, absent=AbsenceReason.MISSING), judged(6), judged(7, "debris"))


def test_rows_are_in_z_order_whatever_the_order_of_messages() -> None:
    shuffled = [*SLICES, SLICES[1]]
    random.Random(1).shuffle(shuffled)
    assert [row.z for row in book(*shuffled).rows()] == [3, 4, 5, 6, 7]
    assert list(book(*shuffled).rows()) == list(book(*SLICES).rows())


def test_a_row_says_what_is_wrong_and_what_was_measured() -> None:
    row = slice_row(SLICES[1])
    assert (row.reliable, row.troubles, row.severity, row.thickness_nm) == (False, ("defocus",), 2.5, 16.5)
    assert row.sharpness == 0.5
    absent = slice_row(SLICES[2])
    assert (absent.reliable, absent.troubles, absent.absent) == (False, (), AbsenceReason.MISSING)
    assert slice_row(SLICES[0]).reliable


def test_nuclei_and_objects_count_the_unreliable_slices_they_span() -> None:
    found = book(*SLICES)
    spans = [(3, 3), (3, 4), (4, 5), (6, 6), (3, 7), (20, 30)]
    counts = [row.unreliable_slices for row in found.mark_nuclei(nucleus(*span) for span in spans)]
    assert counts == [0, 1, 2, 0, 3, 0]
    # The box of an object is half open.
    objects = found.mark_objects(an_object(*span) for span in [(3, 4), (3, 5), (4, 6), (6, 8)])
    assert [row.unreliable_slices for row in objects] == [0, 1, 2, 1]


def test_a_chromosome_counts_the_unreliable_slices_from_the_first_to_the_last_of_its_objects() -> None:
    found = book(*SLICES)
    objects = [an_object(3, 4, 1), an_object(6, 7, 1), an_object(7, 8, 2), an_object(3, 8)]
    assert len(list(found.mark_objects(objects))) == 4
    marked = list(found.mark_chromosomes(map(a_chromosome, (1, 2, 3))))
    # Between its two objects the first spans what the slices 4 and 5 do not show; nothing belongs to the third.
    assert [row.unreliable_slices for row in marked] == [2, 1, None]


def test_an_open_nucleus_is_not_counted_yet() -> None:
    (row,) = book(*SLICES).mark_nuclei([nucleus(3, None)])
    assert row.unreliable_slices is None


def test_results_from_before_slices_were_judged_stay_as_they_were() -> None:
    (row,) = SliceBook().mark_nuclei([nucleus(3, 7)])
    assert row.unreliable_slices is None


def test_a_trouble_is_an_event_and_a_good_slice_is_none() -> None:
    event = event_of(SLICES[1])
    assert event is not None
    assert (event["event"], event["z"]) == ("slice_trouble", 4)
    assert event_of(SLICES[0]) is None
    assert event_of(SLICES[2]) is None


def test_a_blank_slice_is_an_event_though_nobody_could_measure_it() -> None:
    event = event_of(judged(9, absent=AbsenceReason.BLANK))
    assert event == {
        "event": "slice_trouble", "nucleus_id": None, "z": 9, "troubles": [], "thickness_nm": None, "absent": "BLANK"
    }  # fmt: skip
