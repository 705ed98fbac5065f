"""What the phantom germline is made of: tissues, sizes and greys."""

import dataclasses
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Tissue(IntEnum):
    """Material of a pixel, finer than its class; it decides the texture of the grey."""

    CYTOPLASM = 0
    NUCLEOPLASM = 1
    CHROMATIN = 2
    NUCLEOLUS = 3
    SYNAPTONEMAL_COMPLEX = 4
    MEMBRANE = 5
    PERINUCLEAR_SPACE = 6
    P_GRANULE = 7
    MITOCHONDRION = 8
    ENDOPLASMIC_RETICULUM = 9
    LIPID = 10
    YOLK = 11


@dataclass(frozen=True)
class Anatomy:
    """Sizes of the phantom's parts, every length in nanometres.

    Attributes
    ----------
    nucleus_radius_nm, nucleus_radius_sd_nm
        Mean and spread of the radius of a nucleus.
    eccentricity
        Half range of the relative half axes of a nucleus.
    bump
        Relative amplitude of the waves on the envelope.
    perinuclear_space_nm, bilayer_nm
        The envelope is bilayer, space, bilayer.
    nucleolus_radius_nm, nucleolus_radius_sd_nm, nucleolus_offset
        Radius of the nucleolus, and its eccentricity as a share of the room it has.
    sc_lengths_nm, sc_length_sd
        Length of the synaptonemal complex of each bivalent and its relative spread.
    sc_width_nm, sc_thickness_nm, lateral_element_nm, central_element_nm, twist_nm
        Cross-section of the synaptonemal complex; ``twist_nm`` is the length of half a turn.
    lobe_across_nm, lobe_along_nm
        Half axes of the chromatin lobe of one homolog, away from and along the complex's plane.
    lobe_roughness
        Relative amplitude of the roughness of a lobe's surface.
    crowding
        How far bivalents may press into one another while the layout relaxes (0.1 = 10 %).
    bead_nm, relaxation_steps
        Resolution and length of the relaxation.
    """

    nucleus_radius_nm: float = 2050.0
    nucleus_radius_sd_nm: float = 100.0
    eccentricity: float = 0.08
    bump: float = 0.02
    perinuclear_space_nm: float = 30.0
    bilayer_nm: float = 8.0
    nucleolus_radius_nm: float = 950.0
    nucleolus_radius_sd_nm: float = 80.0
    nucleolus_offset: float = 0.25
    sc_lengths_nm: tuple[float, ...] = (7800.0, 7800.0, 7800.0, 7800.0, 7800.0, 2500.0)
    sc_length_sd: float = 0.08
    sc_width_nm: float = 110.0
    sc_thickness_nm: float = 60.0
    lateral_element_nm: float = 22.0
    central_element_nm: float = 20.0
    twist_nm: float = 2500.0
    lobe_across_nm: float = 105.0
    lobe_along_nm: float = 190.0
    lobe_roughness: float = 0.12
    crowding: float = 0.10
    bead_nm: float = 60.0
    relaxation_steps: int = 900

    @property
    def envelope_nm(self) -> float:
        """Thickness of the nuclear envelope."""
        return self.perinuclear_space_nm + 2 * self.bilayer_nm

    @property
    def bivalent_half_nm(self) -> float:
        """Radius of the tube that one bivalent fills."""
        return 1.08 * (self.sc_width_nm / 2 + 1.75 * self.lobe_across_nm)

    @property
    def lobe_centre_nm(self) -> float:
        """Distance of a lobe's centre from the middle of the synaptonemal complex."""
        return self.sc_width_nm / 2 + 0.75 * self.lobe_across_nm

    @property
    def lobe_cut_nm(self) -> float:
        """Distance from the middle of the complex inside which there is no chromatin."""
        return self.sc_width_nm / 2 - 10.0

    @property
    def reach_nm(self) -> float:
        """Greatest distance from the centreline at which a bivalent may have material."""
        return max(self.lobe_centre_nm + self.lobe_across_nm, self.lobe_along_nm * 1.35) * 1.02


COARSE_ANATOMY = Anatomy(
    perinuclear_space_nm=80.0,
    bilayer_nm=24.0,
    nucleolus_radius_nm=800.0,
    sc_lengths_nm=(3600.0, 3600.0, 3600.0, 3600.0, 3600.0, 2200.0),
    sc_width_nm=190.0,
    sc_thickness_nm=130.0,
    lateral_element_nm=64.0,
    central_element_nm=60.0,
    lobe_across_nm=125.0,
    lobe_along_nm=215.0,
    crowding=-0.35,
    bead_nm=90.0,
    relaxation_steps=400,
)
"""Inflated parts that voxels of 64 nm still resolve: the quick phantom of tests."""


@dataclass(frozen=True)
class Greys:
    """Mean grey (0 black, 255 white; metal stain is dark) of each material."""

    nucleoplasm: float = 212.0
    cytoplasm: float = 172.0
    chromatin: float = 178.0
    nucleolus: float = 166.0
    vacuole: float = 200.0
    lateral_element: float = 152.0
    central_element: float = 168.0
    central_region: float = 196.0
    knob: float = 140.0
    membrane: float = 118.0
    perinuclear_space: float = 190.0
    pore: float = 165.0
    p_granule: float = 150.0
    mitochondrion: float = 140.0
    crista: float = 124.0
    endoplasmic_reticulum: float = 135.0
    lipid: float = 215.0
    yolk: float = 110.0
    resin: float = 225.0

    def as_dict(self) -> dict[str, float]:
        """Grey by material."""
        return dataclasses.asdict(self)


def texture_amplitudes() -> NDArray[np.float32]:
    """Give the standard deviation of the grey texture by tissue.

    Returns
    -------
    ndarray, float32, shape (256,)
        Amplitude in grey levels, indexed by `Tissue`.
    """
    amplitudes = np.zeros(256, dtype=np.float32)
    amplitudes[Tissue.CYTOPLASM] = 14
    amplitudes[Tissue.NUCLEOPLASM] = 5
    amplitudes[Tissue.CHROMATIN] = 9
    amplitudes[Tissue.NUCLEOLUS] = 10
    amplitudes[Tissue.SYNAPTONEMAL_COMPLEX] = 4
    amplitudes[Tissue.P_GRANULE] = 10
    amplitudes[Tissue.MITOCHONDRION] = 8
    amplitudes[Tissue.LIPID] = 2
    amplitudes[Tissue.YOLK] = 6
    return amplitudes
