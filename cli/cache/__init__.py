"""`hasten cache`: look into the cache, fill it, carry it elsewhere, and try it on traffic."""

from __future__ import annotations

import typer

from cli.cache import explain, exporting, importing, judging, replay, stats, warm

app = typer.Typer(help="Look into the cache, fill it, and try it on traffic.", no_args_is_help=True)
app.command("stats")(stats.stats)
app.command("explain")(explain.explain)
app.command("eval")(judging.eval_reuse)
app.command("tune")(judging.tune)
app.command("warm")(warm.warm)
app.command("export")(exporting.export)
app.command("import")(importing.import_)
app.command("replay")(replay.replay)
