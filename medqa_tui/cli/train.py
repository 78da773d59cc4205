"""`medqa-tui train`: from questions and answers to an adapter."""

from __future__ import annotations

from medqa_tui.cli import options, train_generator, train_reranker, train_runs, train_sweep

app = options.new_app("Train an adapter from questions and answers.")


@app.callback()
def _group() -> None:
    """Train an adapter from questions and answers."""


app.command("generator")(train_generator.command)
app.command("reranker")(train_reranker.command)
app.add_typer(train_sweep.app, name="sweep")
app.command("list")(train_runs.command)
