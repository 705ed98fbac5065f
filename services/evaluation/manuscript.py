"""What the manuscript's Table 1 prints, to compare with; docs/evaluation.md says why by macro F1."""

from __future__ import annotations

from dataclasses import dataclass

FOUR_CLASSES = "chromosome and nucleolus"
FIVE_CLASSES = "with synaptonemal complex"


@dataclass(frozen=True, slots=True)
class PublishedNetwork:
    """A row of the manuscript's Table 1: a TUNet and its scores on the manuscript's own annotated images.

    Attributes
    ----------
    task
        `chromosome and nucleolus` (4 classes) or `with synaptonemal complex` (5 classes).
    depth, base, growth
        Levels, channels of the first level, and their growth per level.
    train_loss, validation_loss
        Mean cross-entropy, nats per pixel.
    f1
        As printed; read as macro F1 over all classes, exterior included.
    """

    task: str
    depth: int
    base: int
    growth: float
    train_loss: float
    validation_loss: float
    f1: float

    @property
    def classes(self) -> int:
        """Number of classes, exterior and interior included."""
        return 4 if self.task == FOUR_CLASSES else 5


TABLE_1: tuple[PublishedNetwork, ...] = (
    PublishedNetwork(FOUR_CLASSES, 4, 32, 2.0, 0.0286, 0.0319, 0.9015),
    PublishedNetwork(FOUR_CLASSES, 4, 64, 2.0, 0.0294, 0.0330, 0.9023),
    PublishedNetwork(FOUR_CLASSES, 4, 64, 1.5, 0.0297, 0.0342, 0.8958),
    PublishedNetwork(FOUR_CLASSES, 5, 32, 2.0, 0.0273, 0.0340, 0.8984),
    PublishedNetwork(FOUR_CLASSES, 5, 64, 2.0, 0.0278, 0.0345, 0.9041),
    PublishedNetwork(FIVE_CLASSES, 4, 32, 2.0, 0.03617, 0.03988, 0.7657),
    PublishedNetwork(FIVE_CLASSES, 5, 32, 2.0, 0.0382, 0.0388, 0.7808),
    PublishedNetwork(FIVE_CLASSES, 4, 64, 1.5, 0.0389, 0.04105, 0.7446),
    PublishedNetwork(FIVE_CLASSES, 4, 64, 2.0, 0.0355, 0.0397, 0.7687),
    PublishedNetwork(FIVE_CLASSES, 5, 64, 2.0, 0.0341, 0.0387, 0.7801),
)
