"""Advice on a deployed system: from what the follower left in the store, at the pace that ingest measured."""

from __future__ import annotations

from pathlib import Path

from services.cli.advising import advice_of, costs_of
from services.cli.sites import STACK, Site
from services.deployed.standing import Standing
from services.extract.histories import Ended, Histories
from services.extract.outlook import histories_key
from tests.support.ingest_bench import Bench
from tests.support.toy_acquisition import toy_settings


def site_of(bench: Bench) -> Site:
    told = Standing(ingest={"interval_s": 75.0}).as_json()
    return Site(toy_settings(Path("slices")), bench.store, lambda: bench.bus, lambda: told)


def test_what_the_follower_left_in_the_store_is_advised_on(bench: Bench) -> None:
    known = Histories(voxel_zyx_nm=(16.0, 16.0, 16.0), field_yx_px=(600, 600), next_z=300)
    known.ended.append(Ended(nucleus_id="n0001", z_end=280, half_height_nm=2000.0, radius_nm=2000.0))
    bench.store.put(histories_key("toy"), known.model_dump_json().encode())
    site = site_of(bench)
    found = advice_of(site)
    assert found is not None
    assert found.complete == ("n0001",)
    assert costs_of(STACK, site, found, None) == (75.0, None, None)
    assert costs_of(STACK, site, found, 135.0) == (135.0, None, None)


def test_a_system_that_followed_nothing_yet_has_no_advice(bench: Bench) -> None:
    assert advice_of(site_of(bench)) is None
