"""Networks have DLSIA's topology and results, keep nothing between calls, and are folded exactly."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from dlsia.core.networks.tunet import TUNet
from torch import nn

from services.contracts.model_card import TUNetArchitecture
from services.trainer.networks import build_network, folded_network, parameter_count

SMALL = TUNetArchitecture(depth=3, base_channels=4)


def trained_a_little(architecture: TUNetArchitecture, outputs: int) -> nn.Module:
    """Return a network whose batch normalisations have seen data."""
    network = build_network(architecture, outputs, seed=1)
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        network(torch.randn(4, 1, 16, 16, generator=generator))
    return network.eval()


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("depth", "base", "growth", "pooling", "millions"),
    [(4, 32, 2.0, 3, 2.1430), (4, 64, 2.0, 3, 8.5622), (4, 64, 1.5, 3, 2.5710), (4, 32, 2.0, 2, 1.928)],
)
def test_parameter_counts_are_those_of_the_manuscripts_table(
    depth: int, base: int, growth: float, pooling: int, millions: float
) -> None:
    architecture = TUNetArchitecture(depth=depth, base_channels=base, growth_rate=growth, pooling=pooling)
    assert parameter_count(build_network(architecture, 4, seed=0)) / 1e6 == pytest.approx(millions, abs=6e-4)


def test_logits_are_dlsias_to_the_bit() -> None:
    ours = trained_a_little(SMALL, 5)
    theirs = TUNet((16, 16), 1, 5, depth=3, base_channels=4, growth_rate=2, maxpool_kernel_size=2).eval()
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(images(2, 1, 16, 24)), theirs(images(2, 1, 16, 24)))


def test_the_seed_decides_the_weights_and_disturbs_nobody() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (build_network(SMALL, 3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_threads_that_share_a_network_do_not_mix_their_images() -> None:
    network = trained_a_little(SMALL, 3)
    inputs = [images(1, 1, 32, 32) + k for k in range(8)]
    with torch.inference_mode():
        expected = [network(image) for image in inputs]

    def run(image: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return torch.as_tensor(network(image))

    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert all(torch.equal(a, b) for a, b in zip(pool.map(run, inputs), expected, strict=True))


def test_folding_removes_every_batch_normalisation_and_keeps_the_logits() -> None:
    network = trained_a_little(SMALL, 4)
    folded = folded_network(SMALL, 4, network.state_dict())
    assert not [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    expected = network(images(2, 1, 16, 24))
    torch.testing.assert_close(folded(images(2, 1, 16, 24)), expected, rtol=1e-4, atol=1e-5)
    # The two would agree trivially if every logit were the same.
    assert expected.std() > 0.01


def test_an_output_depends_on_nothing_beyond_the_stated_context() -> None:
    network = trained_a_little(SMALL, 2)
    context = SMALL.context_px
    edge = 2 * context + 4 * SMALL.shape_multiple_px
    edge -= edge % SMALL.shape_multiple_px
    image = images(1, 1, edge, edge).requires_grad_()
    middle = edge // 2
    network(image)[0, :, middle, middle].sum().backward()
    assert image.grad is not None
    rows, columns = torch.nonzero(image.grad[0, 0], as_tuple=True)
    reach = max(int((rows - middle).abs().max()), int((columns - middle).abs().max()))
    assert context / 2 < reach <= context
