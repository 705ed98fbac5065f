"""Keeps an eye on the folders: what is in flight, what is worth reading now, whether nothing more will come."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from services.ingest.events import FileVersion
from services.ingest.folders import SliceFolders
from services.ingest.intake import Intake
from services.ingest.policy import Situation
from services.ingest.polling import FolderPolls, Poll
from services.ingest.reading import Reading
from services.ingest.settings import IngestSettings
from services.ingest.sightings import FileKey, Patience, Sighting, Sightings, is_hopeless
from services.runtime.clock import Clock

# The listing of a slow share takes at most one part in so many of the time.
_REST_AFTER_LISTING = 20.0
_ANNOUNCED_TOGETHER = 16


class Lookout:
    """Watches the folders of one acquisition.

    Parameters
    ----------
    settings
        How often to look, and how patiently.
    folders
        Where slices appear.
    clock
        Tells how long a file has been at rest.
    intake
        What is settled.
    """

    def __init__(self, settings: IngestSettings, folders: SliceFolders, clock: Clock, intake: Intake) -> None:
        self._settings = settings
        self._folders = folders
        self._clock = clock
        self._intake = intake
        self._polls = FolderPolls(folders, settings.name_rules, len(settings.folders), settings.last_z)
        for known in intake.files:
            self._polls.settle(known.version)
        self._patience = Patience(
            at_once=not settings.watch,
            stable_polls=settings.stable_polls,
            incomplete_s=settings.incomplete_patience_s,
            sweep_s=settings.sweep_s,
        )
        self._swept_s = float("-inf")
        self._sightings = Sightings()
        self._queue: deque[Sighting] = deque()
        self._poll: Poll | None = None
        self._quiet_polls = 0
        self._next_poll_s = float("-inf")
        self._awaited_since_s: dict[int, float] = {}

    def look(self, *, is_reading: bool) -> bool:
        """Take a look if it is time to; return whether anything has changed since the last.

        Raises
        ------
        TransientError
            If a folder cannot be listed now.
        """
        if not self._is_due(is_reading=is_reading):
            return False
        started_s = self._clock.monotonic_s()
        # A share may lose what it should tell: now and then every file is looked at, known or not.
        sweep = self._poll is None or self.is_finishing or started_s - self._swept_s >= self._settings.sweep_s
        poll = self._polls.look(thorough=sweep)
        now_s = self._clock.monotonic_s()
        self._swept_s = now_s if sweep else self._swept_s
        self._next_poll_s = now_s + max(self._settings.poll_interval_s, _REST_AFTER_LISTING * (now_s - started_s))
        changed = self._sightings.observe(poll.unsettled, now_s)
        before, self._poll = self._poll, poll
        # When nothing more is expected, no marker is either.
        self._patience = replace(self._patience, marked=None if self.is_finishing else self._folders.marked())
        at_rest = before is not None and (before.names, before.moving) == (poll.names, poll.moving)
        self._quiet_polls = self._quiet_polls + 1 if at_rest and not changed and not poll.unsettled else 0
        self._note_awaited(now_s)
        ready = self._sightings.ready(self._patience, now_s, self._intake.highest_held_z, finishing=self.is_finishing)
        self._queue = deque(ready)
        return changed

    def next_reading(self) -> tuple[Sighting, Reading] | None:
        """Return the next file that is worth reading, and how; None if there is none now."""
        while self._queue:
            sighting = self._queue.popleft()
            if self._sightings.holds(sighting):
                # Even then a file is refused only at a second look, unless nothing can change any more.
                is_final = self.is_hopeless(sighting) and (self.is_finishing or sighting.fault is not None)
                rested_s = self._clock.monotonic_s() - sighting.since_s
                stacks_wait = not self.is_finishing and rested_s < self._settings.stack_quiet_s
                next_ones = tuple(other.listed for other in islice(self._queue, _ANNOUNCED_TOGETHER))
                return sighting, Reading(sighting.listed, is_final, stacks_wait, next_ones)
        return None

    def put_back(self, sighting: Sighting) -> None:
        """Have a file read next, since an outage came between."""
        self._queue.appendleft(sighting)

    def postpone(self, sighting: Sighting, *, is_stack: bool = False) -> None:
        """Have a file looked at again later: it changed while it was read, or may still grow by pages."""
        now_s = self._clock.monotonic_s()
        rest_s = self._settings.stack_quiet_s - (now_s - sighting.since_s) if is_stack else 0.0
        sighting.not_before_s = now_s + max(rest_s, self._settings.poll_interval_s)

    def settle(self, key: FileKey, version: FileVersion) -> None:
        """Take note that everything is known about a file."""
        self._sightings.settle(key)
        self._polls.settle(version)

    def leave_alone(self, key: FileKey, reason: str) -> None:
        """Take note that a file is none of ours."""
        self._sightings.settle(key)
        self._polls.leave_alone(key, reason)

    def is_hopeless(self, sighting: Sighting) -> bool:
        """Say whether nothing more will be written to a file."""
        held, now_s = self._intake.highest_held_z, self._clock.monotonic_s()
        return is_hopeless(sighting, self._patience, now_s, held, finishing=self.is_finishing)

    @property
    def is_finishing(self) -> bool:
        """Whether nothing more is expected: the folder was given as finished, or a marker, a request or z says so."""
        marked = self._poll is not None and self._poll.marked_finished
        return not self._settings.watch or marked or self._intake.finish is not None or self._is_last_z_reached

    @property
    def is_at_rest(self) -> bool:
        """Whether, since nothing more is expected, enough looks found nothing new and nothing unread."""
        needed = self._settings.finish_polls if self._settings.watch else 1
        return self.is_finishing and self._quiet_polls >= needed

    @property
    def has_nothing(self) -> bool:
        """Whether the folders are at rest and never held anything that has a z."""
        return self.is_at_rest and self._intake.highest_z is None

    @property
    def situation(self) -> Situation:
        """What the folders look like, for the decisions."""
        timeout_s, now_s = self._settings.missing_after_s, self._clock.monotonic_s()
        overdue = (z for z, since_s in self._awaited_since_s.items() if timeout_s and now_s - since_s >= timeout_s)
        return Situation(
            in_flight_z=self._sightings.in_flight_z,
            nameless_in_flight=self._sightings.nameless,
            # Gaps of a folder that was finished from the start are known as soon as the files before them are read.
            finished=not self._settings.watch or self.is_at_rest,
            may_end=self.is_at_rest,
            overdue_z=frozenset(overdue),
        )

    @property
    def ignored(self) -> Counter[str]:
        """How many files are left alone, by reason."""
        return self._poll.ignored if self._poll else Counter()

    def in_flight(self) -> Iterator[Sighting]:
        """Yield the files that are not settled."""
        return iter(self._sightings)

    @property
    def _is_last_z_reached(self) -> bool:
        last_z, highest_z = self._settings.last_z, self._intake.highest_z
        if last_z is None or highest_z is None or highest_z < last_z or self._intake.first_z is None:
            return False
        return next(self._intake.undecided(highest_z), None) is None

    def _is_due(self, *, is_reading: bool) -> bool:
        if not self._settings.watch:
            # What is listed is read first; then one more look finds whether that was all.
            if self._queue or is_reading:
                return False
            if self._quiet_polls == 0 and not any(True for _ in self._sightings):
                return True
        return self._clock.monotonic_s() >= self._next_poll_s

    def _note_awaited(self, now_s: float) -> None:
        """Remember since when each z is awaited, for a time-out that was configured."""
        if self._settings.missing_after_s is None or self._intake.highest_held_z is None:
            return
        awaited = set(self._intake.undecided(self._intake.highest_held_z)) - self._sightings.in_flight_z
        self._awaited_since_s = {z: self._awaited_since_s.get(z, now_s) for z in sorted(awaited)}
