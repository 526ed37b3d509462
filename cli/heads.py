"""What commands say of heads, and the options of heads, as their registry has them.

Reading the registry imports NumPy, so it waits until such a command itself is asked for.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .shell import Command

if TYPE_CHECKING:
    from ..classify.heads.head import Option

HEADS = "{heads}"  # what a help says for their names
_GIVEN = "tlx.head_options"


class NamesHeads(Command):
    """A command whose help names the heads."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, all of them complete."""
        self.complete()
        return super().get_params(ctx)

    def complete(self) -> None:
        """Put the names of the heads where they are missing."""
        from ..classify.heads.registry import heads

        *most, last = heads()
        for parameter in self.params:
            if HEADS in (getattr(parameter, "help", None) or ""):
                parameter.help = parameter.help.replace(HEADS, f"{', '.join(most)} or {last}")


class TakesHeadOptions(NamesHeads):
    """A command that takes the options of all heads: `head_options` returns those given."""

    def complete(self) -> None:
        """Add the options, the first time, before the last ones of the command."""
        super().complete()
        options = _head_options()
        if options[0] not in self.params:
            place = next(i for i, p in enumerate(self.params) if p.name == "max_per_class")
            self.params[place:place] = options


def head_options(context: typer.Context) -> dict[str, Any]:
    """Return the options of heads that were given on the command line, by name."""
    return dict(context.meta.get(_GIVEN, {}))


def _store(context: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    if value is not None and param.name:
        whole = _numbers(param.name, value) if isinstance(value, (list, tuple)) else value
        if whole != []:
            context.meta.setdefault(_GIVEN, {})[param.name] = whole
    return value


def _numbers(name: str, values: list[str] | tuple[str, ...]) -> list[int]:
    try:
        return [int(part) for part in ",".join(values).split(",") if part.strip()]
    except ValueError:
        raise typer.BadParameter(
            f"{','.join(values)!r} is no list of numbers, such as 256 or 256,64.",
            param_hint=f"--{name}",
        ) from None


@functools.cache
def _head_options() -> list[Any]:
    """Return the options as Typer makes them of a function's parameters."""
    from ..classify.heads.registry import heads

    able: dict[str, list[str]] = {}
    options: dict[str, Option] = {}
    for head in heads().values():
        for option in head.options:
            able.setdefault(option.name, []).append(head.name)
            options.setdefault(option.name, option)
    parameters = []
    for name, option in sorted(options.items()):
        without = [head for head in heads() if head not in able[name]]
        which = f"all but {', '.join(without)}" if len(without) < 3 else ", ".join(able[name])
        text = option.help + (", instead of a search" if option.grid else "")
        declared = typer.Option(
            f"--{name.replace('_', '-')}",
            help=f"{text} ({which})." if without else f"{text}.",
            callback=_store,
            expose_value=False,
        )
        annotation = Annotated[_type_of(option), declared]
        parameters.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
            )
        )

    def carrier(**given: Any) -> None:
        pass

    carrier.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    carrier.__annotations__ = {p.name: p.annotation for p in parameters}
    app = typer.Typer(add_completion=False)
    app.command()(carrier)
    return [p for p in typer.main.get_command(app).params if p.name in options]


def _type_of(option: Option) -> Any:
    """Return the type of an option on the command line; None is that it was not given."""
    if option.choices:
        return Literal[option.choices] | None  # type: ignore[valid-type]
    return list[str] | None if option.type is tuple else option.type | None
