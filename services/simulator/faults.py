"""Which slices of an acquisition go wrong as a whole."""

from dataclasses import dataclass

from services.simulator.artefacts import Artefacts
from services.simulator.randomness import Stream, generator

_RATES = {"missed": 0.001, "repeated": 0.001, "out_of_order": 0.01, "half_written": 0.0005, "blank": 0.0002}
_LATE_MOST = 5


@dataclass(frozen=True)
class Faults:
    """Faults by slice.

    ``missed``, ``repeated``, ``half_written`` and ``blank`` hold slice numbers; ``late`` says by how many slices a
    slice is written late. A repeated slice shows the place of the slice before it.
    """

    missed: frozenset[int] = frozenset()
    repeated: frozenset[int] = frozenset()
    half_written: frozenset[int] = frozenset()
    blank: frozenset[int] = frozenset()
    late: tuple[tuple[int, int], ...] = ()

    def of(self, z: int) -> tuple[str, ...]:
        """Names of the faults of one slice, in alphabetical order.

        Examples
        --------
        >>> Faults(missed=frozenset({3}), late=((4, 2),)).of(4)
        ('out_of_order',)
        """
        named = {
            "missed": self.missed,
            "repeated": self.repeated,
            "half_written": self.half_written,
            "blank": self.blank,
        }
        found = [name for name, slices in named.items() if z in slices]
        if any(z == slice_ for slice_, _ in self.late):
            found.append("out_of_order")
        return tuple(sorted(found))


def planned_faults(seed: int, n_slices: int, artefacts: Artefacts) -> Faults:
    """Draw the faults of an acquisition.

    What is switched on happens at least once, if there are slices enough. No slice has two faults, the first and the
    last have none. Each kind has its own random stream.

    Parameters
    ----------
    seed
        Seed of the acquisition.
    n_slices
        Its number of slices.
    artefacts
        Strengths; rates scale with them.
    """
    chosen: dict[str, list[int]] = {}
    taken: set[int] = set()
    for number, (name, rate) in enumerate(_RATES.items()):
        strength = getattr(artefacts, name)
        chosen[name] = []
        if strength <= 0:
            continue
        rng = generator(seed, Stream.FAULTS, number)
        count = max(1, int(rng.poisson(rate * strength * n_slices)))
        order = [int(z) for z in rng.permutation(n_slices) if 0 < z < n_slices - 1 and int(z) not in taken]
        chosen[name] = sorted(order[:count])
        taken.update(chosen[name])
    delays = generator(seed, Stream.FAULTS, 100).integers(1, _LATE_MOST + 1, n_slices)
    return Faults(
        missed=frozenset(chosen["missed"]),
        repeated=frozenset(chosen["repeated"]),
        half_written=frozenset(chosen["half_written"]),
        blank=frozenset(chosen["blank"]),
        late=tuple((z, int(delays[z])) for z in chosen["out_of_order"]),
    )
