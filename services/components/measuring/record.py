"""Everything measured in one nucleus, as the rows of the result tables."""

from __future__ import annotations

from services.components.measuring.checks import Subject, check_rows
from services.components.measuring.chromosomes import chromosome_rows, contact_rows, neighbourhood
from services.components.measuring.complexes import Complex, complexes_of, track_rows
from services.components.measuring.nucleus import CHROMOSOME, NUCLEOLUS, NucleusMeasures, body_of, nucleus_measures
from services.components.measuring.painting import NucleusImage
from services.components.measuring.rounding import significant
from services.components.measuring.stage import Evidence, Stage, stage_of
from services.components.measuring.volume import volume_um3
from services.contracts.rows import ChromosomeRow, MeasuredNucleus, NucleusRow
from services.contracts.values import Value
from services.imaging.quality.depths import PlaneDepths

_PLACES = ("centroid_z_nm", "middle_z_nm", "z_nm")


def measured_nucleus(image: NucleusImage, row: NucleusRow, expected_chromosomes: int) -> MeasuredNucleus:
    """Measure a nucleus.

    Parameters
    ----------
    image
        Its labels.
    row
        What is known of it already; its fields are kept.
    expected_chromosomes
        The karyotype: 12 homologs, 6 bivalents, or what else was asked for.
    """
    body = body_of(image.classes, image.lattice)
    if not body.solid.any():
        # A few stray voxels, fewer than one of the body's coarser ones: there is no nucleus to measure.
        return MeasuredNucleus(**{**dict(row), "stage": "unknown"})
    measures = nucleus_measures(image.classes, image.lattice, body, is_cut=image.clipped)
    complexes = complexes_of(image)
    around = neighbourhood(image)
    chromosomes = chromosome_rows(image, body, around, complexes, row.nucleus_id)
    stage = stage_of(_evidence(image, measures, complexes, chromosomes))
    subject = Subject(
        nucleus_id=row.nucleus_id,
        stage=stage,
        image=image,
        body=body,
        measures=measures,
        complexes=complexes,
        chromosome_count=row.chromosome_count or 0,
        expected_chromosomes=expected_chromosomes,
    )
    checks = check_rows(subject)
    return MeasuredNucleus(
        **{
            **dict(row),
            **_columns(measures, complexes, stage),
            "checks_failed": sum(check.state == "failed" for check in checks),
        },
        chromosomes=chromosomes,
        tracks=track_rows(image, complexes, row.nucleus_id),
        contacts=contact_rows(around, row.nucleus_id),
        checks=checks,
    )


def _evidence(
    image: NucleusImage,
    measures: NucleusMeasures,
    complexes: tuple[Complex, ...],
    chromosomes: tuple[ChromosomeRow, ...],
) -> Evidence:
    whole_um3 = measures.volume.um3
    shares = [volume_um3(image.classes == label, image.lattice) / whole_um3 for label in (CHROMOSOME, NUCLEOLUS)]
    return Evidence(
        is_cut=image.clipped,
        volume_um3=whole_um3,
        chromatin_fraction=shares[0],
        nucleolus_fraction=shares[1],
        sc_length_um=sum(one.track.length_um for one in complexes),
        bodies=[(one.volume_um3, one.sphericity or 0.0) for one in chromosomes],
    )


def _columns(measures: NucleusMeasures, complexes: tuple[Complex, ...], stage: Stage) -> dict[str, object]:
    is_cut = measures.area_um2 is None
    length = None if is_cut else sum(one.track.length_um for one in complexes)
    return {
        "volume_low_um3": significant(measures.volume.eroded_um3),
        "volume_high_um3": significant(measures.volume.dilated_um3),
        "area_um2": significant(measures.area_um2),
        "sphericity": significant(measures.sphericity),
        "nucleolus_fraction": significant(measures.nucleolus_fraction),
        "chromatin_fraction": significant(measures.chromatin_fraction),
        "nucleolus_eccentricity": significant(measures.nucleolus_eccentricity),
        "nucleolus_sphericity": significant(measures.nucleolus_sphericity),
        "envelope_thickness_um": significant(measures.envelope_thickness_um),
        "sc_length_um": significant(length),
        "sc_tracks": None if is_cut else len(complexes),
        "sc_swellings": None if is_cut else sum(len(one.swellings) for one in complexes),
        "stage": stage,
    }


def at_nominal_depths(measured: MeasuredNucleus, depths: PlaneDepths) -> MeasuredNucleus:
    """Return the rows of a nucleus with the places in them as the planes' indices tell them, not as deep as measured.

    So a place is found in the label volume, which keeps a plane for each slice.
    """
    hanging = {
        name: tuple(_at_nominal_depth(row, depths) for row in getattr(measured, name))
        for name in ("chromosomes", "tracks", "contacts", "checks")
    }
    return measured.model_copy(update=hanging)


def _at_nominal_depth(row: Value, depths: PlaneDepths) -> Value:
    told = {name: getattr(row, name, None) for name in _PLACES}
    moved = {name: round(depths.nominal_nm(z_nm), 1) for name, z_nm in told.items() if z_nm is not None}
    return row.model_copy(update=moved)
