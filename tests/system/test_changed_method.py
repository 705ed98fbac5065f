"""A changed parameter recomputes what depends on it and nothing else; changed networks, nothing that is pinned."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.deployed.rebuilding import reconcile
from services.embedded.run import Parts
from services.runtime.deployment import SHIPPED_MODELS
from services.runtime.segmenter.cards import published
from tests.support.shipped_networks import altered
from tests.support.toy_acquisition import Runner, toy_settings
from tests.system.deployed import STAGES, System, without
from tests.system.servers.torchserve import running_torchserve

pytestmark = [pytest.mark.system, pytest.mark.full, pytest.mark.timeout(2400)]


def artefacts(system: System) -> set[str]:
    """Return the keys of what the services made of the slices, without what they keep to be restarted."""
    with system.stack() as stack:
        kept = tuple(f"{system.acquisition}/{folder}/" for folder in ("ingest", "requests", "steps"))
        return {key for key in stack.store.keys(system.acquisition) if not key.startswith(kept)}


def kind_of(key: str) -> str:
    """Return what an artefact is.

    >>> kind_of("toy/nuclei/n1/planes/z000001-ab"), kind_of("toy/nuclei/n1/volume-ab/components-cd/objects.json")
    ('planes', 'components')
    """
    parts = key.split("/")
    if parts[1] != "nuclei":
        return parts[1]
    return "components" if any(part.startswith("components-") for part in parts) else parts[3].partition("-")[0]


def complete_again(system: System, stages: tuple[str, ...]) -> None:
    """Start services again with what was changed, and have everything said once more, so that they see it."""
    for stage in stages:
        system.restart(stage)
    with system.stack() as stack:
        reconcile(stack)
    system.await_complete()


def other_models(folder: Path) -> Path:
    """Return the shipped networks under another card, so another model set by name, hash and provenance."""
    for card in published(SHIPPED_MODELS):
        altered(folder, card.name, licence=f"{card.licence} (again)")
    return folder


def test_a_changed_parameter_recomputes_what_it_touches_and_changed_networks_nothing_that_is_pinned(
    system: System, local: Runner, slices: Path, tmp_path: Path
) -> None:
    system.start_all()
    system.await_complete()
    assert system.collect(tmp_path / "first") == local.manifest()
    before = artefacts(system)

    system.extra["FIBSEM_METHOD__CHROMOSOMES"] = "4"
    complete_again(system, ("components",))
    after = artefacts(system)
    assert {kind_of(key) for key in after - before} == {"components"}
    with_four = toy_settings(slices, models=SHIPPED_MODELS, chromosomes=4)
    expected = Runner(tmp_path / "four", with_four, parts=Parts()).to_the_end()
    assert system.collect(tmp_path / "second") == expected

    # Nuclei keep the networks that they were opened with: others are taken over by a decision (`models use`).
    models = other_models(tmp_path / "models")
    with running_torchserve(tmp_path / "torchserve", models) as other:
        system.model_server_url = other.url
        system.extra["FIBSEM_MODELS"] = str(models)
        complete_again(system, tuple(STAGES))
        assert artefacts(system) == after
        # Provenance tells of the networks that are set up now.
        third = system.collect(tmp_path / "third")
        assert without(third, "provenance.json") == without(expected, "provenance.json")
