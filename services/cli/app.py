"""The command `fibsem-nuclei` and its verbs; every verb's `--help` has examples."""

from __future__ import annotations

import sys

import typer

from services.cli import acquire, advising, export, inspecting, joining, label, learn, operate, rewind
from services.cli.annotations import annotations_app
from services.cli.console import failure
from services.cli.training import training_app
from services.runtime.logging import configure

app = typer.Typer(
    help="Follow and segment cell nuclei while a FIB-SEM is still milling them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
acquire.register(app)
operate.register(app)
advising.register(app)
rewind.register(app)
learn.register(app)
app.add_typer(annotations_app, name="annotations")
app.add_typer(training_app, name="training")
export.register(app)
label.register(app)
inspecting.register(app)
joining.register(app)


def main() -> None:
    """Run the command line; a known failure is one clear line and exit status 1, not a stack trace."""
    configure()
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not failure(error):
            raise
        sys.exit(1)
