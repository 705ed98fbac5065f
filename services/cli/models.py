"""Verbs about networks and who uses them: list, show, publish, use, roll-back, history, shadow, backfill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from services.cli.console import OUT
from services.cli.options import SHIPPED_MODELS
from services.cli.sites import AcquisitionName, Site, Where, site_of
from services.contracts.model_card import ModelCard, ModelSet
from services.ingest.requests import UseModels

models_app = typer.Typer(
    help="Networks: show them, publish them, have a running acquisition use them.", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
ModelsFolder = Annotated[Path, typer.Option("--models", help="folder of published networks")]
By = Annotated[str, typer.Option("--by", help="who decides; goes into the record")]
Reason = Annotated[str, typer.Option(help="why; goes into the record")]
FromZ = Annotated[
    int | None, typer.Option("--from-z", min=0, help="first z that counts; default: the next slice that comes")
]
AT = Annotated[
    Path | None, typer.Option("--at", help="instead: those published at a run (its OUT) or a deployed system (`stack`)")
]


@models_app.command("list")
def models_list(
    models: ModelsFolder = SHIPPED_MODELS,
    as_json: AsJson = False,
    at: AT = None,
    acquisition: AcquisitionName = None,
) -> None:
    """List the networks of a folder, or those that were published at a run or a deployed system."""
    from services.inference.catalogue import catalogue

    if at is None:
        cards = catalogue(models)
    else:
        with site_of(at, acquisition) as site:
            cards = tuple(site.desk.shelf.card(address) for address in site.desk.shelf.addresses())
    if as_json:
        OUT.print_json(json.dumps([{"address": card.address, "name": card.name} for card in cards]))
        return
    for card in cards:
        scores = ", ".join(f"{score.name} {score.f1:.3f}" for score in card.scores.classes)
        OUT.print(f"{card.address}  {card.parameters / 1e6:.2f} M parameters, {card.voxel_size_nm:g} nm; F1 {scores}")


@models_app.command("show")
def models_show(
    address: Annotated[str, typer.Argument(help="name or address of a network, as `models list` prints it")],
    models: ModelsFolder = SHIPPED_MODELS,
    as_json: AsJson = False,
    at: AT = None,
    acquisition: AcquisitionName = None,
) -> None:
    """Show one network's card; `classes` gives the id of each class by name."""
    from services.inference.catalogue import catalogue

    if at is None:
        found = [card for card in catalogue(models) if address in {card.address, card.name}]
    else:
        with site_of(at, acquisition) as site:
            shelf = site.desk.shelf
            found = [shelf.card(name) for name in shelf.addresses() if address in {name, name.rpartition("-")[0]}]
    if not found:
        raise typer.BadParameter(f"no network {address!r} in {at or models}: see `fibsem-nuclei models list`")
    _show(found[0], as_json=as_json)


def _show(card: ModelCard, *, as_json: bool) -> None:
    content = card.model_dump(mode="json") | {"classes": {c.name: int(c.class_id) for c in card.classes}}
    if as_json:
        OUT.print_json(json.dumps(content))
    else:
        OUT.print(json.dumps(content, indent=2), markup=False)


@models_app.command("publish", epilog="Example: fibsem-nuclei models publish stack models/chromatin-0123456789ab")
def models_publish(
    where: Where,
    model: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="a network's folder, as `train` left it")],
    acquisition: AcquisitionName = None,
) -> None:
    """Put a trained network where a run or a deployed system finds it, and say so; nothing uses it yet."""
    with site_of(where, acquisition) as site:
        message = site.desk.publish(model)
    OUT.print(f"published {message.model_id}; `models use {where} {message.model_id}` has it used", soft_wrap=True)


@models_app.command(
    "use",
    epilog="Examples: fibsem-nuclei models use stack chromatin-0123456789ab --reason 'finds thin axes'; "
    "fibsem-nuclei models use roi1 chromatin-0123456789ab --from-z 900",
)
def models_use(
    where: Where,
    networks: Annotated[list[str], typer.Argument(help="addresses of published networks, one of each name")],
    from_z: FromZ = None,
    reason: Reason = "on request",
    by: By = "operator",
    acquisition: AcquisitionName = None,
) -> None:
    """Have nuclei that are confirmed from now on segmented by other networks; a recorded decision.

    Each network takes the place of the one of its name. Nuclei that are open keep theirs to the end.
    """
    with site_of(where, acquisition) as site:
        chosen = site.desk.with_networks(networks)
        _decide(site, chosen, UseModels(model_set=chosen.digest, z_first=from_z, reason=reason, decided_by=by))


@models_app.command("roll-back", epilog="Example: fibsem-nuclei models roll-back stack --reason 'finds too much'")
def models_roll_back(
    where: Where,
    from_z: FromZ = None,
    reason: Reason = "on request",
    by: By = "operator",
    acquisition: AcquisitionName = None,
) -> None:
    """Return to the networks that were in use before the last decision, from now on; a decision like any other."""
    with site_of(where, acquisition) as site:
        chosen = site.desk.earlier()
        _decide(site, chosen, UseModels(model_set=chosen.digest, z_first=from_z, reason=reason, decided_by=by))


@models_app.command("history", epilog="Example: fibsem-nuclei models history stack")
def models_history(where: Where, as_json: AsJson = False, acquisition: AcquisitionName = None) -> None:
    """Show which networks segment which nuclei, by whose decision."""
    with site_of(where, acquisition) as site:
        deployed, swaps, waiting = site.desk.deployed(), site.desk.swaps(), site.desk.waiting()
        refusals = site.requests.refusals()
    if as_json:
        first = {"digest": deployed.digest, "networks": list(deployed.names)}
        OUT.print_json(json.dumps({"deployed": first, "swaps": [swap.as_json() for swap in swaps], "waiting": waiting}))
        return
    table = Table("nuclei confirmed from z", "networks", "by", "why")
    table.add_row("the first", ", ".join(deployed.names), "", "those of the set-up")
    for swap in swaps:
        table.add_row(str(swap.z_first), ", ".join(swap.model_set.names), Text(swap.decided_by), Text(swap.reason))
    OUT.print(table)
    if waiting:
        OUT.print(f"{waiting} waits for ingest")
    for name, why in sorted(refusals.items()):
        if name.startswith("use_models"):
            OUT.print(f"{name} was refused: {why}", markup=False, soft_wrap=True)


@models_app.command(
    "shadow",
    epilog="Examples: fibsem-nuclei models shadow stack chromatin-0123456789ab; fibsem-nuclei models shadow stack; "
    "fibsem-nuclei models shadow stack --stop",
)
def models_shadow(
    where: Where,
    networks: Annotated[list[str] | None, typer.Argument(help="candidates; left out: how the present one does")] = None,
    crops: Annotated[int, typer.Option(min=1, help="of a local run: crops compared, the last ones")] = 100,
    stop: Annotated[bool, typer.Option("--stop", help="compare no more")] = False,
    as_json: AsJson = False,
    acquisition: AcquisitionName = None,
) -> None:
    """Compare candidates with the networks in use, on the same crops; their answers are used for nothing else.

    A deployed system compares every crop from now on (service `shadow`), a local run its last ones at once.
    """
    from services.inference.shadow import Candidate, ShadowBox

    with site_of(where, acquisition) as site:
        box = ShadowBox(site.store)
        if stop:
            box.ask(Candidate(model_set=None))
            OUT.print("noted: nothing is compared any more")
            return
        if networks:
            chosen, current = site.desk.with_networks(networks), site.desk.current()
            site.desk.put(chosen)
            others = tuple(name for name in chosen.names if name not in current.names)
            box.ask(Candidate(model_set=chosen.digest, networks=others))
            if where.is_dir():
                _compare_here(site, crops)
        candidate = box.candidate()
        if candidate is None:
            raise typer.BadParameter("nothing is compared: name the address of a published network")
        agreement = box.counted(str(candidate.model_set))
    report = {"networks": list(candidate.networks), "crops": agreement.crops, "equal": agreement.equal_share()}
    report |= {"dice": dict(agreement.dice())}
    if as_json:
        OUT.print_json(json.dumps(report))
        return
    OUT.print(f"{', '.join(candidate.networks)}: {agreement.crops} crops", soft_wrap=True)
    table = Table("class", "Dice")
    for name, dice in agreement.dice().items():
        table.add_row(name.replace("_", " "), f"{dice:.4f}")
    OUT.print(table)
    share = agreement.equal_share()
    OUT.print("no crop was compared yet" if share is None else f"equal pixels: {share:.4f}")


@models_app.command(
    "backfill", epilog="Example: fibsem-nuclei models backfill roi1 chromatin-0123456789ab --out roi1-again"
)
def models_backfill(
    before: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="OUT of a finished run")],
    networks: Annotated[
        list[str] | None, typer.Argument(help="addresses of published networks; default: those in use at its end")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder for the new version; the earlier one stays as it is")] = Path("out"),
) -> None:
    """Make a new version of a finished run with one set of networks for all its nuclei.

    Outlines are taken over; what depends on networks is computed again. identities.csv says which nucleus and
    object of the earlier version is which of the new one.
    """
    from services.cli.acquire import amended
    from services.embedded.settings import STATE

    place = out.resolve() / STATE / "networks"
    with site_of(before) as site:
        chosen = site.desk.with_networks(networks or [])
        site.desk.put(chosen)
        site.desk.shelf.bring_set(chosen.digest, place / chosen.digest[:12])
    amended(before, out, place / chosen.digest[:12])


def _compare_here(site: Site, count: int) -> None:
    """Compare the last crops of a local run in this process."""
    from collections import deque
    from tempfile import TemporaryDirectory

    from services.contracts.messages import CropSegmented
    from services.inference.shadow import ShadowBox, ShadowHandler
    from services.runtime.bus.replay import replay_messages
    from services.runtime.clock import SystemClock
    from services.runtime.handler import Received
    from services.runtime.metrics.prometheus import PrometheusMetrics
    from services.runtime.segmenter.sets import Segmenters, opened_here

    messages = (m for m in replay_messages(site.bus, ("segmentations",)) if isinstance(m, CropSegmented))
    last = deque(messages, maxlen=count)
    profile = last[-1].numeric_profile if last else "exact"
    candidate = ShadowBox(site.store).candidate()
    assert candidate is not None, "it was just named"
    with TemporaryDirectory(prefix="models-") as folder, OUT.status(f"comparing {len(last)} crops"):
        sets = Segmenters(opened_here(site.desk.shelf, Path(folder), profile))
        with ShadowHandler(site.store, sets.of, PrometheusMetrics(), SystemClock(), "command-line") as handler:
            # What was compared before is compared anew: the crops are others.
            handler.forget()
            for message in last:
                handler.handle([Received("segmentations", message)])
        sets.close()


def _decide(site: Site, chosen: ModelSet, wanted: UseModels) -> None:
    if chosen.digest == site.desk.current().digest and site.desk.waiting() is None:
        OUT.print(f"nothing to decide: {', '.join(chosen.names)} are in use")
        return
    site.desk.use(chosen, wanted)
    begin = "in the next slice that comes" if wanted.z_first is None else f"in z {wanted.z_first}"
    OUT.print(
        f"noted: nuclei confirmed {begin} or later are segmented by {', '.join(chosen.names)}; open ones keep theirs. "
        "`models history` shows the decision once ingest has taken it",
        soft_wrap=True,
    )
