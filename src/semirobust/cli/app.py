"""The program ``semirobust``."""

import importlib
from collections.abc import Mapping

import click

from semirobust.cli.ending import carry_out
from semirobust.core.errors import InputError
from semirobust.core.nearest import meant
from semirobust.core.plugins import load_plugin

__all__ = ["COMMANDS", "app", "main"]

COMMANDS: Mapping[str, str] = {
    "demo": "Train, profile, harden and compare on small real data; writes a report.",
    "audit": "How robust is a model, how far can that be believed, and what to do next?",
    "train": "Train a model, robustly unless told otherwise.",
    "evaluate": "Accuracy of a model, clean and under attack, with intervals.",
    "profile": "What each layer of a model adds to its weakness.",
    "harden": "Make a trained model more robust by training only the part that matters.",
    "data": "Data sets known by name: where they are looked for, their size and licence.",
    "report": "One HTML file, from records alone, that needs nothing else to be read.",
    "prune": "Prune a model level by level, train what is left, and evaluate each level.",
    "export": "Write a model as ONNX or for torch.export, and check that it answers alike.",
    "recover": "How small may the robust prefix be?",
    "reproduce": "Make the tables and figures of a paper again.",
    "list": "Everything that has a name: attacks, methods, measures, models, data, recipes.",
    "settings": "Every setting of a recipe, with its type, default and meaning.",
}
"""What each does in a line. A command is imported when it is called: PyTorch takes seconds."""


_PLUGIN = "--plugin"


class _Program(click.Group):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Import plug-ins first, wherever on the line they are named: flags list the members there are."""
        rest: list[str] = []
        words = iter(args)
        for word in words:
            flag, equals, value = word.partition("=")
            if word == "--":
                rest += [word, *words]
            elif flag != _PLUGIN:
                rest.append(word)
            elif module := value if equals else next(words, ""):
                load_plugin(module)
            else:
                raise click.UsageError(f"{_PLUGIN}: expected the name of a module, such as mypackage.attacks")
        return super().parse_args(ctx, rest)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, once nothing is wrong that can be said without the command."""
        if args[0] in COMMANDS:
            from semirobust.cli.early import refuse_early

            refuse_early(args[0], args[1:])
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            if ctx is None or ctx.resilient_parsing:
                return None
            known = ", ".join(COMMANDS)
            raise InputError(f"command: expected one of {known}; got {cmd_name!r}{meant(cmd_name, COMMANDS)}")
        module = importlib.import_module(f"semirobust.cli.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.pass_context
def _show_help(ctx: click.Context) -> None:
    """The help, where no command was given."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _show_version(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from semirobust.records.origin import code_version

    click.echo(f"semirobust {code_version()}")
    ctx.exit()


app = _Program(
    name="semirobust",
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version, and leave.",
        ),
        click.Option(
            [_PLUGIN],
            metavar="MODULE",
            multiple=True,
            expose_value=False,
            help="A module of yours whose attacks, methods and so on then have names. Repeatable; may stand"
            " anywhere on the line.",
        ),
    ],
    help="Which layers of an image classifier carry its adversarial robustness, and how little must be"
    " trained to make all of it robust.",
    invoke_without_command=True,
    callback=_show_help,
)


def main() -> None:
    """Run the command line."""
    carry_out(app)
