"""All services in one process, turn by turn, on the embedded adapters.

One thread takes the turns: the networks use both cores while it is theirs, everything else is short. No
result depends on the order of the turns, so that a live run, a replay and a resumed run give the same bytes.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from services.components.handler import ComponentsHandler
from services.contracts.messages import Message
from services.contracts.topics import TOPICS
from services.embedded.live import LiveView, preview_fusion
from services.embedded.load import load_of
from services.embedded.overview import write_overview
from services.embedded.progress import Progress, keep_status
from services.embedded.provenance import provenance
from services.embedded.settings import REPORT, STATE, RunSettings
from services.embedded.swaps import swaps_of
from services.embedded.timing import REPORT_FILE, SCORES_FILE, StageTimes
from services.extract.detect import DetectHandler
from services.extract.follow import FollowHandler, FollowSettings
from services.extract.outlook import read_histories
from services.extract.registering import registration_params
from services.extract.settings import detection_profile, expected_sizes
from services.extract.solving import read_solution
from services.imaging.forecasting.advising import advise
from services.imaging.forecasting.wording import sentences
from services.inference.handler import InferenceHandler
from services.ingest.turns import IngestTurns
from services.ingest.watcher import Ingest, IngestPorts
from services.postprocess.handler import PostprocessHandler
from services.results.assembly import Results
from services.results.files import disk_outages
from services.results.handler import ResultsHandler
from services.runtime.bus.replay import replay_messages
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.clock import Clock, SystemClock
from services.runtime.errors import TransientError
from services.runtime.health import Heartbeat
from services.runtime.http import Watched, WatchServer
from services.runtime.metrics.prometheus import PrometheusMetrics
from services.runtime.segmenter.in_process import InProcessSegmenter
from services.runtime.segmenter.port import Segmenter
from services.runtime.segmenter.sets import OpenSet, OtherSets, Segmenters, opened_here, voxel_sizes
from services.runtime.segmenter.shelf import ModelShelf
from services.runtime.service import Ports, ServiceLoop
from services.runtime.store.directory import DirectoryStore
from services.runtime.store.port import ArtefactStore

log = structlog.get_logger()

IDLE_S = 0.2
KEEP_EVERY_S = 1.0
STUCK_AFTER_S = 300.0
GRACE_S = 20.0
RESULTS_PAUSE_S = 5.0
RESULT_TOPICS = tuple(topic.name for topic in TOPICS if "results" in topic.consumers)


class RunInUseError(RuntimeError):
    """Another process works on the same output folder."""


class UnfinishedError(RuntimeError):
    """Everything was worked on, and yet something is not complete: a defect of this program."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    out
        The results.
    stopped
        Whether somebody stopped it before the end.
    progress
        How far it was.
    stages
        Seconds per stage.
    """

    out: Path
    stopped: bool
    progress: Progress
    stages: dict[str, float]

    def summary(self) -> str:
        """Return what happened, in a few words."""
        progress = self.progress
        return (
            f"{progress.seen} slices, {progress.nuclei_closed} nuclei, {progress.segmented} crops "
            f"in {progress.elapsed_s / 60:.1f} minutes; results in {self.out}"
        )

    def keep_scores(self, scores: dict[str, object]) -> None:
        """Keep the scores where the report finds them."""
        (self.out / STATE / SCORES_FILE).write_text(json.dumps(scores, indent=2, sort_keys=True) + "\n")


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of a run that default to this machine's.

    Attributes
    ----------
    clock
        Times the back-off and the display; decides nothing.
    segmenter
        The networks; by default those of the settings, in this process.
    open_set
        From the digest of another model set to its networks; by default they run in this process as well.
    store
        Wraps the store, to fail where a test wants it to.
    preview
        Opens the one network that the live page is drawn with under a backlog; by default that of the settings.
    """

    clock: Clock | None = None
    segmenter: Segmenter | None = None
    open_set: OpenSet | None = None
    store: Callable[[DirectoryStore], ArtefactStore] = lambda store: store
    preview: Callable[[], Segmenter] | None = None


class EmbeddedRun:
    """One acquisition's run. `turn` takes one turn of every service.

    Parameters
    ----------
    out
        Where results and state go.
    settings
        What to run.
    watch
        Whether more slices may come.
    parts
        What a test may put in place of the defaults.
    from_start
        Whether everything is published again, for a bus that was lost.
    """

    def __init__(
        self,
        out: Path,
        settings: RunSettings,
        *,
        watch: bool,
        parts: Parts = Parts(),
        from_start: bool = False,
    ) -> None:
        self._out, self._settings, self._clock = out, settings, parts.clock or SystemClock()
        state = out / STATE
        state.mkdir(parents=True, exist_ok=True)
        self.metrics = PrometheusMetrics()
        self.heartbeat = Heartbeat(self._clock, STUCK_AFTER_S)
        self.times = StageTimes(state / REPORT_FILE, self._clock)
        self._began_s = self._clock.monotonic_s()
        self._at_rest = False
        with ExitStack() as resources:
            self._open(state, parts, resources)
            self._results = Results(out, self.store)
            ports = IngestPorts(self._producer, self.store, self._clock, self.metrics)
            wanted = settings.ingest(watch=watch)
            self.ingest = IngestTurns(Ingest(wanted, ports, from_start=from_start), self._clock)
            self._loops = self._services()
            self._networks = next(loop for loop in self._loops if loop.handler is self._inference)
            # Whatever fails above releases what was taken; from here on `close` does.
            self._resources = resources.pop_all()

    def _open(self, state: Path, parts: Parts, resources: ExitStack) -> None:
        resources.enter_context(_only_one(state))
        directory = DirectoryStore(state / "store", reference_files=True)
        resources.callback(directory.close)
        self.store = parts.store(directory)
        self.bus = SqliteBus(state / "bus.sqlite", clock=self._clock)
        resources.callback(self.bus.close)
        self.bus.create_topics(TOPICS)
        self._producer = self.bus.producer()
        # Networks take the most time and let go of the interpreter: the other services have theirs meanwhile.
        self._beside = resources.enter_context(ThreadPoolExecutor(1, "networks"))
        self._segmenter = resources.enter_context(
            parts.segmenter or InProcessSegmenter(self._settings.models, self._settings.numeric_profile)
        )
        open_set = opened_here(ModelShelf(self.store), state / "networks", self._settings.numeric_profile)
        self._other_sets = Segmenters(parts.open_set or open_set)
        resources.callback(self._other_sets.close)
        preview = parts.preview or (
            lambda: InProcessSegmenter(
                self._settings.models,
                self._settings.numeric_profile,
                threads=1,
                fusion=preview_fusion(self._segmenter.model_set()),
            )
        )
        self._live = LiveView(self._out / REPORT, self.bus, self.store, self._clock, preview)
        resources.callback(self._live.close)

    def _services(self) -> list[ServiceLoop]:
        settings, models = self._settings, self._segmenter.model_set()
        profile = detection_profile(settings.profile, settings.nucleus_area_um2)
        follow = FollowSettings(
            settings.window_um,
            models.digest,
            models.voxel_size_nm,
            settings.whole_field,
            registration=registration_params(
                settings.registration, settings.registration_trend, settings.registration_delay
            ),
            measured_thickness=settings.slice_thickness == "measured",
            repair=settings.repair,
            solution=(
                read_solution(self.store, settings.acquisition, settings.registration_solution)
                if settings.registration_solution
                else None
            ),
            sizes=expected_sizes(settings.profile, settings.nucleus_area_um2),
            least_area_um2=profile.min_area_um2,
        )
        voxel_of = voxel_sizes(ModelShelf(self.store), models)
        self._follow = FollowHandler(self.store, follow, self.metrics, voxel_of)
        self._postprocess = PostprocessHandler(self.store, models.voxel_size_nm, settings.small_objects, voxel_of)
        others = OtherSets(self._other_sets.of, voxel_of)
        self._inference = InferenceHandler(self._segmenter, self.store, self.metrics, self._clock, others=others)
        handlers = (
            DetectHandler(
                self.store,
                profile,
                self.metrics,
                whole_field=settings.whole_field,
                digests=settings.registration != "none",
                repair=settings.repair,
            ),
            self._follow,
            self._inference,
            self._postprocess,
            ComponentsHandler(
                self.store, settings.chromosomes, settings.chromosomes_method, homologs=settings.counts_homologs
            ),
            ResultsHandler(self._results),
        )
        return [ServiceLoop(handler, self._ports(handler.name, handler.topics)) for handler in handlers]

    def _ports(self, group: str, topics: tuple[str, ...]) -> Ports:
        consumer = self.bus.consumer(group, topics, member=group)
        return Ports(consumer, self._producer, self.store, self.metrics, self._clock)

    def turn(self) -> bool:
        """Take one turn of every service, the networks beside the others; return whether any had work."""
        self.heartbeat.tick()
        beside = self._beside.submit(self._step, self._networks)
        try:
            with self.times.stage("ingest"):
                worked = self.ingest.step()
            for loop in self._loops:
                if loop is not self._networks:
                    worked |= self._step(loop)
        finally:
            # Nothing of a turn is left at work after it, whatever happened.
            worked_beside = beside.result()
        worked |= worked_beside
        # A service knows what waits for it once it has looked: before the first turn nobody has.
        self._at_rest = not worked
        return worked

    def _step(self, loop: ServiceLoop) -> bool:
        with self.times.stage(loop.handler.name):
            return loop.step()

    @property
    def busy(self) -> bool:
        """Whether messages wait for a service."""
        return any(loop.lag() for loop in self._loops)

    @property
    def complete(self) -> bool:
        """Whether the acquisition has ended and every message has been answered."""
        return self._at_rest and self.ingest.done and not any(loop.paused or loop.lag() for loop in self._loops)

    def progress(self) -> Progress:
        """Return how far the run is."""
        status = self.ingest.status()
        slices = status.ledger.slices
        return Progress(
            seen=slices.ingested + slices.dead_lettered + slices.in_flight,
            expected=slices.expected if status.is_finishing else None,
            followed=self._follow.followed,
            crops=self._inference.answered + self._lag_of(self._inference.name),
            segmented=self._inference.answered,
            nuclei_open=self._follow.nuclei_open,
            nuclei_closed=self._follow.nuclei_closed,
            final_z=min((z for _, z in self._postprocess.open_nuclei()), default=self._follow.followed),
            waiting_for=self._waiting_for(),
            elapsed_s=self._clock.monotonic_s() - self._began_s,
        )

    def _lag_of(self, name: str) -> int:
        return sum(loop.lag() for loop in self._loops if loop.handler.name == name)

    def _waiting_for(self) -> str:
        paused = [loop.handler.name for loop in self._loops if loop.paused]
        return f"a dependency of {', '.join(paused)}" if paused else self.ingest.waiting_for()

    def finish(self) -> None:
        """Write every result; the run is complete.

        Raises
        ------
        UnfinishedError
            If a nucleus stayed open, which no input may cause.
        TransientError
            If the disk takes nothing; call it again.
        """
        if left := self._postprocess.open_nuclei():
            raise UnfinishedError(f"nuclei were never closed: {', '.join(key for key, _ in left)}")
        with self.times.stage("results"):
            self._results.finish(
                self.messages(),
                self.ingest.ledger_rows(),
                provenance(
                    self._settings,
                    self._segmenter.model_set(),
                    self._segmenter.profile.value,
                    swaps_of(self.bus, self.store, self._settings.acquisition),
                ),
            )
            with disk_outages():
                write_overview(
                    self._out / STATE / "overview", self.store, lambda: replay_messages(self.bus, ("slices", "crops"))
                )

    def show_live(self, *, now: bool = False) -> bool:
        """Draw the page of a run at work, if it is time; return whether it was drawn."""
        return self._live.look(self.progress(), self._said, now=now)

    def end_live(self) -> None:
        """Remove that page: a finished run has a report."""
        self._live.remove()

    def _said(self) -> list[str]:
        histories = read_histories(self.store, self._settings.acquisition)
        if histories is None:
            return []
        advice, load = advise(histories.situation()), load_of(self._out)
        costs = load.costs(advice, load.period_s)
        return sentences(advice, *costs, period_s=load.period_s, planned_last_z=self._settings.last_z)

    def messages(self) -> Iterator[Message]:
        """Return every message that results are made of."""
        return replay_messages(self.bus, RESULT_TOPICS)

    def keep_state(self) -> None:
        """Write how far the run is and where its time went, for other processes and for the report.

        A disk that takes nothing costs no more than this news: what matters waits for room elsewhere.
        """
        progress, done = self.progress(), self._follow.followed
        counts = {
            "ingest": progress.seen,
            "extract-detect": done,
            "extract-follow": done,
            "inference": progress.segmented,
            "postprocess": progress.segmented,
            "components": progress.nuclei_closed,
        }
        try:
            self.metrics.set("fibsem_disk_free_bytes", shutil.disk_usage(self._out).free, volume=str(self._out))
            self.times.keep(counts)
            keep_status(self._out / STATE, progress, self.ingest.ledgers())
        except OSError as error:
            log.warning("state_not_kept", error=str(error))

    def close(self) -> None:
        """Release everything; what was committed is durable."""
        with self._resources:
            for loop in self._loops:
                loop.close()
            self.ingest.close()


@contextmanager
def _only_one(state: Path) -> Iterator[None]:
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunInUseError(f"another process works on {state.parent}: wait for it, or stop it") from None
        yield


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run is watched by, and watches.

    Attributes
    ----------
    stop
        Set by a signal; the run ends after the turn in hand, with everything durable.
    show
        Called with the progress every second or so.
    metrics_port
        Where to serve metrics and health; None: nowhere.
    alive
        Whether whoever writes the slices still lives.
    """

    stop: threading.Event
    show: Callable[[Progress], None]
    metrics_port: int | None = None
    alive: Callable[[], bool] = lambda: True


def run_to_the_end(out: Path, settings: RunSettings, around: Surroundings, *, watch: bool) -> Outcome:
    """Run until the acquisition is complete, or somebody stops it.

    Parameters
    ----------
    out, settings, watch
        As in `EmbeddedRun`.
    around
        Who stops and watches it.
    """
    clock = SystemClock()
    run = EmbeddedRun(out, settings, watch=watch, parts=Parts(clock=clock))
    try:
        with _served(run, around.metrics_port):
            keep_at_s = 0.0
            watch_over = _Watch(run, around.alive, clock)
            while not around.stop.is_set() and not run.complete:
                worked = run.turn()
                if clock.monotonic_s() >= keep_at_s:
                    progress = run.progress()
                    around.show(progress)
                    run.times.point(progress.seen, progress.final_z)
                    run.keep_state()
                    if watch:
                        run.show_live()
                    keep_at_s = clock.monotonic_s() + KEEP_EVERY_S
                if not worked:
                    watch_over.check()
                    clock.wait(IDLE_S, around.stop)
            stopped = not (run.complete and _finished(run, around.stop, clock))
            if not stopped:
                run.end_live()
            run.keep_state()
            return Outcome(out, stopped, run.progress(), dict(run.times.seconds))
    finally:
        run.close()


def _finished(run: EmbeddedRun, stop: threading.Event, clock: Clock) -> bool:
    """Write the results, as soon as the disk takes them; return whether it did before somebody stopped the run."""
    while not stop.is_set():
        try:
            run.finish()
        except TransientError as outage:
            log.warning("results_wait", outage=str(outage), pause_s=RESULTS_PAUSE_S)
            clock.wait(RESULTS_PAUSE_S, stop)
        else:
            return True
    return False


def rebuild_bus(out: Path, settings: RunSettings, around: Surroundings) -> Progress:
    """Throw the bus away and fill it again from the store (design, State).

    Ingest says again what its journal holds; every service behind finds its artefact or its step record,
    and says again what follows. What the store lacks is computed again, to the same bytes.
    """
    with _only_one(out / STATE):
        for name in ("bus.sqlite", "bus.sqlite-wal", "bus.sqlite-shm"):
            (out / STATE / name).unlink(missing_ok=True)
    run = EmbeddedRun(out, settings, watch=True, from_start=True)
    try:
        while not around.stop.is_set() and (run.turn() or run.busy):
            around.show(run.progress())
        if run.complete:
            run.finish()
        run.keep_state()
        return run.progress()
    finally:
        run.close()


class _Watch:
    """Notices when whoever writes the slices died without finishing the acquisition."""

    def __init__(self, run: EmbeddedRun, alive: Callable[[], bool], clock: Clock) -> None:
        self._run, self._alive, self._clock = run, alive, clock
        self._dead_since_s: float | None = None

    def check(self) -> None:
        """Raise once the writer has been dead for longer than the finish marker takes to be seen."""
        if self._alive() or self._run.ingest.finishing:
            return
        now_s = self._clock.monotonic_s()
        self._dead_since_s = now_s if self._dead_since_s is None else self._dead_since_s
        if now_s - self._dead_since_s > GRACE_S:
            raise UnfinishedError("the microscope stopped before it finished the acquisition")


@contextmanager
def _served(run: EmbeddedRun, port: int | None) -> Iterator[None]:
    if port is None:
        yield
        return
    watched = Watched(metrics=run.metrics.render, alive=run.heartbeat.alive, ready=lambda: True)
    with WatchServer(watched, port=port):
        yield
