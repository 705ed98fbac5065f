"""Everything that can be set about ingest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from services.contracts.keys import RESERVED
from services.contracts.values import Identifier, VoxelSize, ZIndex
from services.imaging.tiff_layout import TiffLimits
from services.ingest.intake import AcquisitionIdentity
from services.ingest.names import DEFAULT_PATTERN, NameRules, compile_pattern
from services.ingest.policy import Policy
from services.ingest.reading import ReadingRules

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]
Percentile = Annotated[float, Field(ge=0, le=100)]


class IngestSettings(BaseModel):
    """Settings of one acquisition's ingest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    acquisition_id: Identifier = Field(description="name of the acquisition")
    folders: Annotated[tuple[Path, ...], Field(min_length=1)] = Field(
        description="folders the microscope wrote into, in that order; the finish marker counts in the last"
    )
    voxel_size: VoxelSize = Field(description="edge lengths of a voxel")
    watch: bool = Field(default=False, description="whether slices are still being written")

    pattern: str = Field(
        default=DEFAULT_PATTERN, description="regular expression with a group z, searched in file names"
    )
    include: tuple[str, ...] = Field(default=("*",), description="shell patterns; other names are ignored")
    extensions: tuple[str, ...] = Field(
        default=(".tif", ".tiff", ".dat"), description="endings of slices, in lower case"
    )
    follow_links_outside: bool = Field(default=False, description="whether links may lead out of the folders")

    first_z: ZIndex | None = Field(default=None, description="z of the first slice; default: found out")
    last_z: ZIndex | None = Field(default=None, description="z of the last slice; later files are left alone")
    largest_z: ZIndex = Field(default=99_999, description="a number beyond this in a name is no z")
    stack_z_zero: ZIndex = Field(default=0, description="z of page 0 of a stack whose name says no z")
    gaps: Literal["declare", "wait"] = Field(
        default="declare", description="what becomes of a z that a finished folder lacks"
    )
    missing_after_s: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="declare a z missing when it has not come so long after a later one; default: wait"
    )

    channel: Annotated[int, Field(ge=0, le=3)] | None = Field(
        default=None, description="channel of pages whose channels differ; default: such files are refused"
    )
    metadata: Literal["check", "ignore"] = Field(
        default="check", description="files whose metadata say another pixel size than is set: refuse them, or not"
    )
    data_bar_px: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="rows at the bottom that are writing and no image; default: what the metadata say"
    )
    contrast: Literal["as-is", "inverted"] = Field(
        default="as-is", description="inverted: stained material is bright in the files, and grey is turned round"
    )
    grey_low_percentile: Percentile = Field(default=0.1, description="percentile of 16-bit grey that becomes 0")
    grey_high_percentile: Percentile = Field(default=99.9, description="percentile of 16-bit grey that becomes 255")
    blank_spread_levels: Annotated[int, Field(ge=0)] = Field(
        default=2, description="grey values this close to one another count as one, to tell blank slices"
    )
    blank_outlier_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.002, description="share of other pixels that a blank slice may have"
    )
    max_page_pixels: Positive = Field(default=2**28, description="largest page that is unpacked")
    max_page_bytes: Positive = Field(default=2**29, description="most bytes that a page unpacks to, all its samples")
    max_pages: Positive = Field(default=100_000, description="most pages of a file")

    poll_interval_s: Seconds = Field(default=1.0, description="time between two looks at the folders")
    stable_polls: Positive = Field(default=2, description="looks that must see the same size and time of a file")
    incomplete_patience_s: Seconds = Field(
        default=10.0, description="how long an incomplete file must rest before a later slice means that it stays so"
    )
    stack_quiet_s: Seconds = Field(
        default=60.0,
        description="how long a file of many pages must rest in a watched folder, since pages may be added",
    )
    keep_flags: Path | None = Field(
        default=None,
        description="folder of markers (SET^...^NAME^keep) that say which files are finished; default: none, files at "
        "rest are finished",
    )
    sweep_s: Seconds = Field(
        default=3600.0,
        description="how long a file without its marker must rest to be read all the same, and how often every file "
        "that was read is looked at again",
    )
    finish_polls: Positive = Field(default=3, description="looks that must find nothing new before a finish counts")
    files_per_step: Positive = Field(default=4, description="files read before the other services get their turn")
    pages_per_turn: Positive = Field(default=8, description="pages of a stack read before others get their turn")
    in_memory_bytes: Positive = Field(default=2**28, description="files up to this size are read at once")
    attempts: Positive = Field(default=3, description="tries of a file that kills the process")
    max_file_bytes: Positive = Field(default=2**40, description="largest file that is read")
    most_kept_bytes: Positive = Field(default=2**30, description="largest refused file of which a copy is kept")

    @field_validator("pattern")
    @classmethod
    def _pattern_has_a_z(cls, pattern: str) -> str:
        compile_pattern(pattern)
        return pattern

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> Self:
        if self.first_z is not None and self.last_z is not None and self.last_z < self.first_z:
            raise ValueError(f"last_z ({self.last_z}) is before first_z ({self.first_z})")
        if self.grey_low_percentile >= self.grey_high_percentile:
            raise ValueError("grey_low_percentile must be below grey_high_percentile")
        return self

    @property
    def identity(self) -> AcquisitionIdentity:
        """What all messages carry."""
        return AcquisitionIdentity(self.acquisition_id, self.voxel_size)

    @property
    def name_rules(self) -> NameRules:
        """How names are read."""
        return NameRules(compile_pattern(self.pattern), self.include, self.extensions, self.largest_z)

    @property
    def reading_rules(self) -> ReadingRules:
        """How files are read."""
        return ReadingRules(
            limits=TiffLimits(self.max_page_pixels, self.max_pages, self.max_page_bytes),
            channel=self.channel,
            stack_z_zero=self.stack_z_zero,
            z_first=self.first_z or 0,
            z_last=self.last_z,
            largest_z=self.largest_z,
            blank_spread_levels=self.blank_spread_levels,
            blank_outlier_share=self.blank_outlier_share,
            in_memory_bytes=self.in_memory_bytes,
            pages_per_turn=self.pages_per_turn,
            attempts=self.attempts,
            max_file_bytes=self.max_file_bytes,
            voxel_yx_nm=(self.voxel_size.y_nm, self.voxel_size.x_nm) if self.metadata == "check" else None,
            data_bar_px=self.data_bar_px,
        )

    @property
    def policy(self) -> Policy:
        """What is decided without asking."""
        return Policy(
            first_z=self.first_z,
            declare_gaps=self.gaps == "declare",
            missing_after_s=self.missing_after_s,
            low_percentile=self.grey_low_percentile,
            high_percentile=self.grey_high_percentile,
            inverted=self.contrast == "inverted",
        )


class AcquisitionSettings(BaseModel):
    """What a user says of one acquisition; ingest's other settings have defaults that hold for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    acquisition: Identifier = Field(description="name of the acquisition; folders of one name are joined")
    slices: tuple[Path, ...] = Field(description="folders the microscope writes slices into")
    voxel_size: VoxelSize = Field(description="edge lengths of a voxel")
    gaps: Literal["declare", "wait"] = Field(default="declare", description="what becomes of a missing z")
    file_pattern: str | None = Field(default=None, description="regular expression with a group z for file names")
    include: str | None = Field(default=None, description="shell pattern; files of other names are left alone")
    channel: int | None = Field(default=None, ge=0, le=3, description="channel of files whose channels differ")
    metadata: Literal["check", "ignore"] = Field(
        default="check", description="files that say another pixel size than is set: refuse them, or not"
    )
    data_bar_px: int | None = Field(
        default=None, ge=0, description="rows at the bottom that are no image; default: what the metadata say"
    )
    contrast: Literal["as-is", "inverted"] = Field(
        default="as-is", description="inverted: stained material is bright in the files, and grey is turned round"
    )
    keep_flags: Path | None = Field(default=None, description="folder of markers that say which files are finished")
    first_z: int | None = Field(default=None, ge=0, description="z of the first slice")
    last_z: int | None = Field(default=None, ge=0, description="z of the last slice; later files are left alone")
    gap_timeout_s: float | None = Field(default=None, gt=0, description="declare a z missing after so long")

    @field_validator("acquisition")
    @classmethod
    def _name_is_free(cls, acquisition: str) -> str:
        if acquisition in RESERVED:
            raise ValueError(f"{acquisition!r} is a name of the store's own; call the acquisition something else")
        return acquisition

    @field_validator("voxel_size", mode="before")
    @classmethod
    def _voxel_size_as_text(cls, value: object) -> object:
        """Read "Z,Y,X", as the environment and the command line say it."""
        if not isinstance(value, str):
            return value
        try:
            z_nm, y_nm, x_nm = (float(part) for part in value.split(","))
        except ValueError as error:
            raise ValueError(f"a voxel size is Z,Y,X in nm, such as 4,4,4; this is {value!r}") from error
        return VoxelSize(z_nm=z_nm, y_nm=y_nm, x_nm=x_nm)

    @field_validator("slices", mode="before")
    @classmethod
    def _folders_as_text(cls, value: object) -> object:
        """Read folders with a colon between them."""
        return tuple(value.split(":")) if isinstance(value, str) else value

    def ingest(self, *, watch: bool) -> IngestSettings:
        """Return what this means for ingest."""
        return IngestSettings(
            acquisition_id=self.acquisition,
            folders=self.slices,
            voxel_size=self.voxel_size,
            watch=watch,
            pattern=self.file_pattern or DEFAULT_PATTERN,
            include=(self.include,) if self.include else ("*",),
            first_z=self.first_z,
            last_z=self.last_z,
            gaps=self.gaps,
            missing_after_s=self.gap_timeout_s,
            channel=self.channel,
            metadata=self.metadata,
            data_bar_px=self.data_bar_px,
            contrast=self.contrast,
            keep_flags=self.keep_flags,
        )
