"""``diptych ui``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from diptych.cli.options import Device, Strength, TranslatePrecision
from diptych.web.limits import Limits


def ui(
    runs: Annotated[list[Path], typer.Argument(help="Run folders and model.safetensors files.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond this machine it needs a key.")
    ] = "127.0.0.1",
    port: Annotated[
        Optional[int],
        typer.Option(min=1, max=65535, help="Default: 7860, or the next that is free."),
    ] = None,
    key: Annotated[
        Optional[str],
        typer.Option(envvar="DIPTYCH_KEY", help="Clients must know it: 16 characters or more."),
    ] = None,
    megabytes: Annotated[
        float, typer.Option(help="Largest file, in megabytes.")
    ] = Limits.megabytes,
    megapixels: Annotated[
        float, typer.Option(help="Largest picture, in megapixels.")
    ] = Limits.megapixels,
    network_megapixels: Annotated[
        float, typer.Option(help="Largest picture in the network, once scaled.")
    ] = Limits.network_megapixels,
    waiting: Annotated[
        int, typer.Option(help="Pictures in line; more are told to wait.")
    ] = Limits.waiting,
    waiting_megapixels: Annotated[
        float, typer.Option(help="Most for all in line.")
    ] = Limits.waiting_megapixels,
    batch: Annotated[int, typer.Option(help="Pictures at once, where sizes agree.")] = Limits.batch,
    upload_seconds: Annotated[
        float, typer.Option(help="For a picture to arrive.")
    ] = Limits.upload_seconds,
    answer_seconds: Annotated[
        float, typer.Option(help="To translate it; as long again to write the answer.")
    ] = Limits.answer_seconds,
    strength: Strength = 1.0,
    device: Device = "auto",
    precision: TranslatePrecision = "float32",
) -> None:
    """Serve a page to drop pictures on, and an HTTP API."""
    import os
    import sys
    from importlib.util import find_spec

    from diptych.cli.console import say
    from diptych.cli.log import output_is_a_log
    from diptych.errors import DiptychError, UsageError, one_of
    from diptych.words import how_to_install

    output_is_a_log()
    for package in ("gradio", "fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        if find_spec(package) is None:
            raise DiptychError(f"{package} is not installed: {how_to_install('web')}")
    from diptych.web.server import addresses_of, is_loopback, listen, serve

    for run in runs:  # (what follows takes seconds to import: mistakes are told before)
        if not run.exists():
            raise DiptychError(f"there is no model {run}: give a run folder or a model file")
    limits = Limits(
        megabytes, megapixels, network_megapixels, waiting, waiting_megapixels, batch,
        upload_seconds, answer_seconds,
    )  # fmt: skip
    if key is not None and len(key) < 16:
        raise UsageError(
            "the key is shorter than 16 characters: make one with "
            'python -c "import secrets; print(secrets.token_urlsafe())"'
        )
    with listen(host, port) as listening:
        if key is None and not is_loopback(listening):
            raise UsageError(
                f"--host {host} lets other machines in: set a key in the environment, DIPTYCH_KEY"
            )
        from diptych.translation.translator import PRECISIONS
        from diptych.web.app import make_app
        from diptych.web.metrics import Metrics
        from diptych.web.models import load_models
        from diptych.web.page_folder import page_folder
        from diptych.web.service import Service

        computed = one_of("--precision", precision, PRECISIONS)
        models = load_models(runs, device, limits.network_pixels, strength, computed)
        service = Service(models, limits, Metrics())
        try:
            with page_folder() as folder:
                app = make_app(service, folder, key)
                serve(app, listening, limits, lambda: say(f"ready on {addresses_of(listening)}"))
        finally:
            ended = service.close()
    say("stopped")
    if not ended:  # (PyTorch aborts a process that ends by itself while a thread computes)
        sys.stdout.flush()
        os._exit(0)
