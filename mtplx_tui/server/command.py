"""`mtplx-tui serve`: the server without the app, on an engine of its own."""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import signal
import sys
from dataclasses import dataclass

from engine.protocol import MAX_DEPTH, LimitPrefixes, Mode
from mtplx_tui import config, link
from mtplx_tui.cli import UsageError, parser, pass_line, tell
from mtplx_tui.config import Settings
from mtplx_tui.driving import EngineTrouble
from mtplx_tui.files import Places
from mtplx_tui.library.disk import DEMO, Location, ModelNotFound, resolve
from mtplx_tui.remedies import one_line
from mtplx_tui.server.engine_host import EngineHost
from mtplx_tui.server.server import Server, ServerOptions, ServerTrouble, kept_key
from mtplx_tui.wording import read_size

__all__ = ["main"]

AUTO = "auto"
_EXAMPLES = """\
examples:
  mtplx-tui serve --model demo
  mtplx-tui serve --model owner/name --port 9000 --alias 'claude-*'
  mtplx-tui serve --host 0.0.0.0 --api-key auto

OpenAI's clients take ADDRESS/v1 as their base URL, Anthropic's take ADDRESS; the browser chat is at
ADDRESS itself. Without --api-key whoever has an account on this machine may ask; beyond this machine
the key is always wanted. It ends by ctrl+c or SIGTERM.
"""


@dataclass(frozen=True, slots=True)
class _Job:
    location: Location
    options: ServerOptions
    limits: LimitPrefixes
    key: str
    places: Places
    blas: str
    is_json: bool


def main(words: list[str]) -> int:
    """Run the command and return its exit code."""
    places = config.find_places()
    settings, problems = config.load_settings(places)
    chosen = _parsed(words, settings)
    for problem in problems:
        tell(problem)
    try:
        options = _options(chosen)
        job = _Job(
            resolve(chosen.model or settings.last_model or DEMO),
            options,
            _limits(chosen),
            options.key or kept_key(places.state / "server-key"),
            places,
            settings.blas,
            chosen.json,
        )
        return asyncio.run(_serve(job))
    except ModelNotFound as error:
        tell(one_line(error))
        return 1
    except EngineTrouble as error:
        tell(str(error))
        return error.exit_code
    except ServerTrouble as error:
        tell(one_line(error))
        return 1


def _parsed(words: list[str], settings: Settings) -> argparse.Namespace:
    own, host, port = ServerOptions(), settings.server_host, settings.server_port
    chosen = parser("mtplx-tui serve", "Serve the OpenAI and Anthropic APIs.", _EXAMPLES)
    add = chosen.add_argument
    add("--model", help="a folder, owner/name in the hub cache, or demo; default: the last one")
    add("--host", default=host, help=f"address to listen at; default {host}")
    add("--port", type=int, default=port, help=f"0 takes a free one; default {port}")
    add("--api-key", metavar="KEY", help=f"callers have to show it; {AUTO} makes and keeps one")
    add("--alias", action="append", default=[], help="another name of the model; * is any text")
    add("--allow-host", action="append", default=[], help="another name this server is called by")
    add("--depth", default=AUTO, help=f"where a request names none: {AUTO} (default) or 0 to 8")
    add("--mode", default="token", help=f"where a request names none: {', '.join(Mode)}")
    add("--queue", type=int, default=own.queue, help=f"requests that wait; default {own.queue}")
    add("--parallel", type=int, default=own.parallel, help=f"that run; default {own.parallel}")
    add(
        "--both-reasoning-fields",
        action="store_true",
        help="chat: reasoning beside reasoning_content",
    )
    add(
        "--empty-deltas", type=float, default=0, metavar="S", help="chat: one each S silent seconds"
    )
    add(
        "--cache-memory",
        metavar="SIZE",
        default=settings.prefix_memory,
        help="of prompts kept for later ones, such as 4GB; 0: none",
    )
    disk = settings.prefix_disk
    add("--cache-disk", metavar="SIZE", default=disk, help=f"the same on the disk; default {disk}")
    add("--json", action="store_true", help="print one JSON document once it serves")
    return chosen.parse_args(words)


def _options(chosen: argparse.Namespace) -> ServerOptions:
    """Return what is wanted. Raises UsageError naming what can't be."""
    depth = chosen.depth
    if depth != AUTO and not (depth.isdecimal() and int(depth) <= MAX_DEPTH):
        raise UsageError(f"--depth must be {AUTO} or a number from 0 to {MAX_DEPTH}, not {depth!r}")
    if chosen.mode not in list(Mode):
        raise UsageError(f"--mode must be one of {', '.join(Mode)}, not {chosen.mode!r}")
    try:
        options = ServerOptions(
            host=chosen.host,
            port=chosen.port,
            key=None if chosen.api_key == AUTO else chosen.api_key,
            needs_key=chosen.api_key is not None,
            aliases=tuple(chosen.alias),
            hosts=tuple(chosen.allow_host),
            queue=chosen.queue,
            parallel=chosen.parallel,
            depth=None if depth == AUTO else int(depth),
            mode=Mode(chosen.mode),
            has_both_reasoning_fields=chosen.both_reasoning_fields,
            empty_delta_s=chosen.empty_deltas,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not options.is_loopback and not options.needs_key:
        raise UsageError(
            f"others could reach {options.host}: give --api-key KEY, or --api-key {AUTO}"
        )
    return options


def _limits(chosen: argparse.Namespace) -> LimitPrefixes:
    """Return what may be kept of prompts. Raises UsageError."""
    memory = chosen.cache_memory
    return LimitPrefixes(
        memory_bytes=None if memory is None else _size(memory, "--cache-memory"),
        disk_bytes=_size(chosen.cache_disk, "--cache-disk"),
    )


def _size(text: str, option: str) -> int:
    try:
        return read_size(text)
    except ValueError:
        raise UsageError(f"{option} takes a size such as 20GB, or 0, not {text!r}") from None


async def _serve(job: _Job) -> int:
    """Serve until told to end."""
    is_over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, is_over.set)
    command = link.engine_command(job.places.cache, job.blas)
    start = functools.partial(link.spawn, command, job.places.logs / "engine.log")
    host = EngineHost(start, job.location, job.limits, pass_line)
    server = Server(job.options, host.send, lambda: host.view, job.key)
    host.attach(server.take, server.engine_died)
    try:
        # The port first: a model takes long to load, and in vain where there is no port.
        await server.start()
        loading = asyncio.create_task(host.load())
        ending = asyncio.create_task(is_over.wait())
        await asyncio.wait({loading, ending}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            _announce(server, job)
            await ending
        loading.cancel()
    finally:
        await server.stop()
        await host.close()
    return 0


def _announce(server: Server, job: _Job) -> None:
    model = server.model_id or job.location.name
    if job.is_json:
        told = {"address": server.address, "model": model, "needs_key": server.needs_key}
        text = json.dumps({**told, "key": server.key})
    else:
        text = (
            f"serving {model} at {server.address}\n"
            f"  OpenAI clients     base URL {server.address}/v1\n"
            f"  Anthropic clients  base URL {server.address}\n"
            f"  key                {server.key if server.needs_key else 'none wanted; any will do'}"
        )
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
