"""`orch completion`: the script that teaches a shell to complete `orch`."""

from __future__ import annotations

import click

from orchestrator.cli._app import current
from orchestrator.cli._group import Command

SHELLS = ("bash", "zsh", "fish")


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  orch completion bash > ~/.local/share/bash-completion/completions/orch
    zsh:   orch completion zsh > ~/.zfunc/_orch    (a folder in $fpath)
    fish:  orch completion fish > ~/.config/fish/completions/orch.fish
    """
    from click.shell_completion import get_completion_class

    app = current()
    kind = get_completion_class(shell)
    assert kind is not None
    # The class's own `source` of bash asks the installed bash for its version; the text needs no bash.
    template = kind(click.get_current_context().find_root().command, {}, "orch", "_ORCH_COMPLETE")
    script = template.source_template % template.source_vars()
    if app.json:
        app.out.document({"shell": shell, "script": script})
    else:
        app.out.raw(script)
