"""How acquisitions are segmented: what results depend on besides slices and networks, shared by every service."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Method(BaseModel):
    """Parameters of the method, the same for every service of a system; results with others are others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Literal["recommended", "manuscript", "as-run", "hela-40nm", "hela-learned"] = Field(
        default="recommended", description="parameters of nucleus detection"
    )
    numeric_profile: Literal["exact", "fast"] = Field(default="exact", description="arithmetic of the networks")
    whole_field: bool = Field(default=False, description="segment the whole field as one region, without nuclei")
    window_um: Annotated[float, Field(gt=0, le=100)] = Field(default=6.8, description="edge of a crop")
    chromosomes: Annotated[int, Field(ge=1, le=200)] = Field(default=12, description="chromosomes expected per nucleus")
    chromosomes_method: Literal["cc26", "sc_watershed", "sc_link_watershed", "path_cover"] = Field(
        default="sc_link_watershed", description="how chromosomes are separated"
    )
    chromosomes_as: Literal["auto", "bivalents", "homologs"] = Field(
        default="auto", description="what is counted; auto: homologs where more than 6 are expected"
    )
    small_objects: Literal["3d", "2d"] = Field(default="3d", description="how the size of a speck is measured")
    registration: Literal["none", "translation", "rigid", "affine"] = Field(
        default="none", description="how slices are laid on one another"
    )
    registration_trend: Literal["kept", "zero"] = Field(
        default="kept",
        description="slow movement of the whole field: kept as the specimen's, or zero because it is drift",
    )
    registration_delay: Annotated[int, Field(ge=0, le=64)] = Field(
        default=4, description="slices to wait for before the place of a slice is final"
    )
    slice_thickness: Literal["nominal", "measured"] = Field(
        default="nominal", description="depth of a slice in volumes, areas and lengths: as it should be, or as measured"
    )
    repair: tuple[Literal["destripe", "gain"], ...] = Field(
        default=(), description="repairs of slices before nuclei are searched and cut out"
    )
    nucleus_area_um2: tuple[float, float] | None = Field(
        default=None, description="smallest and largest section of a nucleus, instead of the profile's"
    )

    @field_validator("repair", "nucleus_area_um2", mode="before")
    @classmethod
    def _several_as_text(cls, value: object) -> object:
        """Read values with commas between them, as the environment says them."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("repair")
    @classmethod
    def _in_one_order(cls, repair: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(repair)))

    @property
    def counts_homologs(self) -> bool | None:
        """Whether the expected number is that of homologs; None where the number itself decides."""
        return None if self.chromosomes_as == "auto" else self.chromosomes_as == "homologs"
