"""The results folder of a run, assembled from messages and artefacts as often as anybody likes.

Nothing here depends on the order in which messages of different nuclei arrive, or on how often one does;
messages of one nucleus come in the order of their topic, and the last of a kind stands.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from services.contracts.messages import (
    ComponentsMeasured,
    Message,
    NucleusClosed,
    NucleusOpened,
    VolumeClosed,
    VolumeExtended,
)
from services.contracts.rows import (
    OBJECT_ROWS,
    CheckRow,
    ChromosomeRow,
    ContactRow,
    MeasuredNucleus,
    NucleusRow,
    ObjectRow,
    SuspectRow,
    TrackRow,
)
from services.results.events import EventLog
from services.results.files import disk_outages, replacing
from services.results.manifest import VOLUME, write_manifest
from services.results.neighbourhood import with_neighbours
from services.results.quality import SliceBook
from services.results.tables import (
    CHECKS_COLUMNS,
    CHROMOSOMES_COLUMNS,
    CONTACTS_COLUMNS,
    NUCLEI_COLUMNS,
    OBJECTS_COLUMNS,
    REPAIRED_SLICES_COLUMNS,
    SLICES_COLUMNS,
    SUSPECTS_COLUMNS,
    TRACKS_COLUMNS,
    sorted_ledger,
    write_ledger,
    write_table,
)
from services.results.transforms import TRANSFORMS_COLUMNS, TransformBook
from services.results.volumes import bring_volume, prune_volume
from services.runtime.store.port import ArtefactStore

LedgerRow = Mapping[str, str | int | None]
HangingRow = TrackRow | ContactRow | CheckRow | SuspectRow
Hanging = TypeVar("Hanging", bound=HangingRow | ChromosomeRow)

# Tables whose rows come with those of nuclei: their name, their columns, and where a nucleus holds them.
_HANGING: tuple[tuple[str, pa.Schema, Callable[[MeasuredNucleus], Sequence[HangingRow]]], ...] = (
    ("tracks", TRACKS_COLUMNS, lambda row: row.tracks),
    ("contacts", CONTACTS_COLUMNS, lambda row: row.contacts),
    ("checks", CHECKS_COLUMNS, lambda row: row.checks),
    ("suspects", SUSPECTS_COLUMNS, lambda row: row.suspects),
)


class ForeignRowError(ValueError):
    """An artefact holds the rows of another nucleus than its message says."""


class SeveralAcquisitionsError(ValueError):
    """A results folder is that of one acquisition."""


@dataclass(slots=True)
class _Nucleus:
    """What the messages say of one nucleus."""

    opened: NucleusOpened | None = None
    closed: NucleusClosed | None = None
    measured: ComponentsMeasured | None = None
    prefixes: dict[str, str] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        match message:
            case NucleusOpened():
                self.opened = message
            case NucleusClosed():
                self.closed = message
            case VolumeExtended() | VolumeClosed():
                self.prefixes["volume"] = message.volume_prefix
            case ComponentsMeasured():
                self.measured = message
                self.prefixes["objects"] = message.volume_prefix

    def ordered_prefixes(self) -> list[str]:
        """Prefixes to bring, the later over the earlier."""
        return list(dict.fromkeys(self.prefixes[kind] for kind in ("volume", "objects") if kind in self.prefixes))


class Results:
    """The results folder of one acquisition.

    Parameters
    ----------
    out
        The folder; made when there is something to put into it.
    store
        Where the artefacts are.
    """

    def __init__(self, out: Path, store: ArtefactStore) -> None:
        self._out = out
        self._store = store

    def grow(self, messages: Iterable[Message]) -> None:
        """Bring what is new of the volumes that these messages tell of; others are left as they are.

        Raises
        ------
        TransientError
            If the store or the disk is out.
        """
        with disk_outages():
            for nucleus_id, nucleus in _gather(messages, None, SliceBook()).items():
                self._bring(nucleus_id, nucleus)

    def finish(
        self, messages: Iterable[Message], ledger_rows: Iterable[LedgerRow], provenance: Mapping[str, object]
    ) -> Path:
        """Write every result of the run as it stands; return the path of the manifest.

        Parameters
        ----------
        messages
            All messages of the acquisition, of the topics that have `results` for a consumer.
        ledger_rows
            One per file and per expected z: z, state, reason, file, sha256.
        provenance
            What the results depend on besides the slices: versions, settings, models, profiles; JSON
            values, no clock, no path. A digest of the slices is added as `inputs`.

        Raises
        ------
        ForeignRowError, pydantic.ValidationError
            If rows that components stored are not what they should be.
        LedgerRowError
            If a ledger row has other columns.
        SeveralAcquisitionsError
            If the messages are not of one acquisition.
        TransientError
            If the store or the disk is out.
        """
        with disk_outages(), EventLog() as events:
            slices, transforms = SliceBook(), TransformBook()
            nuclei = dict(sorted(_gather(_noted(messages, transforms), events, slices).items()))
            self._bring_all(nuclei)
            rows = tuple(slices.mark_nuclei(with_neighbours(tuple(self._nucleus_rows(nuclei)))))
            write_table(self._out / "nuclei", NUCLEI_COLUMNS, map(_without_hanging, rows))
            for name, columns, rows_of in _HANGING:
                write_table(self._out / name, columns, (hanging for row in rows for hanging in _hanging(row, rows_of)))
            write_table(self._out / "objects", OBJECTS_COLUMNS, slices.mark_objects(self._object_rows(nuclei)))
            chromosomes = (found for row in rows for found in _hanging(row, lambda nucleus: nucleus.chromosomes))
            write_table(self._out / "chromosomes", CHROMOSOMES_COLUMNS, slices.mark_chromosomes(chromosomes))
            columns = REPAIRED_SLICES_COLUMNS if slices.repaired else SLICES_COLUMNS
            write_table(self._out / "slices", columns, slices.rows())
            if transforms:
                write_table(self._out / "transforms", TRANSFORMS_COLUMNS, transforms.rows())
            ledger = sorted_ledger(ledger_rows)
            write_ledger(self._out / "ledger.csv", ledger)
            self._write_events(events)
            self._write_provenance({**provenance, "inputs": _inputs(ledger)})
            return write_manifest(self._out)

    def _volume(self, nucleus_id: str) -> Path:
        return self._out / "nuclei" / nucleus_id / VOLUME

    def _bring(self, nucleus_id: str, nucleus: _Nucleus) -> frozenset[str]:
        brought: frozenset[str] = frozenset()
        for prefix in nucleus.ordered_prefixes():
            brought |= bring_volume(self._store, f"{prefix}/{VOLUME}", self._volume(nucleus_id))
        return brought

    def _bring_all(self, nuclei: Mapping[str, _Nucleus]) -> None:
        with_volume = set()
        for nucleus_id, nucleus in nuclei.items():
            brought = self._bring(nucleus_id, nucleus)
            if brought:
                with_volume.add(nucleus_id)
                prune_volume(self._volume(nucleus_id), brought)
        for volume in (self._out / "nuclei").glob(f"*/{VOLUME}"):
            if volume.parent.name not in with_volume:
                shutil.rmtree(volume)

    def _nucleus_rows(self, nuclei: Mapping[str, _Nucleus]) -> Iterator[NucleusRow]:
        for nucleus_id, nucleus in nuclei.items():
            row = self._nucleus_row(nucleus)
            if row is not None:
                _require_own(nucleus_id, row.nucleus_id)
                yield row

    def _nucleus_row(self, nucleus: _Nucleus) -> NucleusRow | None:
        if nucleus.measured is not None:
            row = MeasuredNucleus.model_validate_json(self._store.get(nucleus.measured.measurements))
            return row.model_copy(update={"expected_chromosomes": nucleus.measured.expected_count})
        return None if nucleus.opened is None else _unmeasured(nucleus.opened, nucleus.closed)

    def _object_rows(self, nuclei: Mapping[str, _Nucleus]) -> Iterator[ObjectRow]:
        for nucleus_id, nucleus in nuclei.items():
            if nucleus.measured is None:
                continue
            rows = OBJECT_ROWS.validate_json(self._store.get(nucleus.measured.objects))
            for row in sorted(rows, key=lambda row: row.object_id):
                _require_own(nucleus_id, row.nucleus_id)
                yield row

    def _write_events(self, events: EventLog) -> None:
        with replacing(self._out / "events.jsonl") as part, part.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(f"{line}\n" for line in events.lines())

    def _write_provenance(self, provenance: Mapping[str, object]) -> None:
        text = json.dumps(provenance, indent=2, sort_keys=True, allow_nan=False)
        with replacing(self._out / "provenance.json") as part:
            part.write_text(f"{text}\n", encoding="utf-8", newline="\n")


def _gather(messages: Iterable[Message], events: EventLog | None, slices: SliceBook) -> dict[str, _Nucleus]:
    nuclei: dict[str, _Nucleus] = {}
    acquisitions: set[str] = set()
    for message in messages:
        if events is not None:
            events.add(message)
        slices.take(message)
        of_nucleus = _nucleus_of(message)
        if of_nucleus is not None:
            acquisition_id, nucleus_id = of_nucleus
            acquisitions.add(acquisition_id)
            nuclei.setdefault(nucleus_id, _Nucleus()).take(message)
    if len(acquisitions) > 1:
        raise SeveralAcquisitionsError(f"messages of several acquisitions: {', '.join(sorted(acquisitions))}")
    return nuclei


def _noted(messages: Iterable[Message], transforms: TransformBook) -> Iterator[Message]:
    for message in messages:
        transforms.take(message)
        yield message


def _nucleus_of(message: Message) -> tuple[str, str] | None:
    match message:
        case NucleusOpened() | NucleusClosed() | VolumeExtended() | ComponentsMeasured():
            return message.acquisition_id, message.nucleus_id
        case VolumeClosed():
            return message.nucleus.acquisition_id, message.nucleus.nucleus_id
        case _:
            return None


def _unmeasured(opened: NucleusOpened, closed: NucleusClosed | None) -> NucleusRow:
    """Return the row of a nucleus of which only the outline's story is known yet."""
    if closed is None:
        return NucleusRow(
            nucleus_id=opened.nucleus_id, z_first=opened.z_first, state="open", continues=opened.continues
        )
    return NucleusRow(
        nucleus_id=opened.nucleus_id,
        z_first=closed.z_first,
        z_last=closed.z_last,
        clipped=closed.clipped,
        state="closed",
        absent_planes=len(closed.absent),
        bridged_planes=closed.bridged_planes,
        continues=opened.continues,
    )


def _without_hanging(row: NucleusRow) -> NucleusRow:
    """Return the row of the table of nuclei alone."""
    return NucleusRow(**{name: getattr(row, name) for name in NucleusRow.model_fields})


def _hanging(row: NucleusRow, rows_of: Callable[[MeasuredNucleus], Sequence[Hanging]]) -> Iterator[Hanging]:
    """Yield the rows of another table that come with that of a nucleus."""
    for hanging in rows_of(row) if isinstance(row, MeasuredNucleus) else ():
        _require_own(row.nucleus_id, hanging.nucleus_id)
        yield hanging


def _require_own(nucleus_id: str, found: str) -> None:
    if found != nucleus_id:
        raise ForeignRowError(f"the rows of nucleus {nucleus_id} are those of {found}")


def _inputs(ledger: Iterable[Sequence[str]]) -> dict[str, object]:
    """Return a digest of the slices: which z has which bytes, whatever the files are called."""
    slices = sorted({(z, sha256) for z, _, _, _, sha256 in ledger if sha256})
    digest = hashlib.sha256("".join(f"{z} {sha256}\n" for z, sha256 in slices).encode())
    return {"slices": len(slices), "sha256": digest.hexdigest()}
