"""The hub, the login to it, and the port that the server would take. Never shows a token."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from mtplx_tui.config import read_token
from mtplx_tui.doctor.check import Check, NotLookedAt, Severity
from mtplx_tui.doctor.surroundings import Surroundings
from mtplx_tui.library.transport import Broken, Connections, Endpoint, Refused

__all__ = ["check_hub", "check_login", "check_port"]

TIMEOUT_S = 5.0
_LOGIN = "run `hf auth login`; without one, models that ask for an agreement can't be downloaded"
_MAX_ANSWER = 2**20


def check_login(s: Surroundings) -> Iterator[Check]:
    """Tell whether there is a login, and where it comes from."""
    expected = "a token, for gated and private models"
    if s.login is None:
        raise NotLookedAt("there is no home folder")
    place = s.login.variable or s.login.file
    try:
        has_token = bool(read_token(s.login))
    except OSError as error:
        found = f"{place} can't be read: {error.strerror}"
        yield Check("login", expected, found, Severity.WARNING, "make it readable for you alone")
        return
    if has_token:
        yield Check("login", expected, f"in {place}")
    else:
        yield Check("login", expected, "none", Severity.NOTE, _LOGIN)


def check_hub(s: Surroundings) -> Iterator[Check]:
    """Ask the hub something small, as whoever is logged in."""
    expected = "the hub answers"
    if s.is_offline:
        raise NotLookedAt("--offline")
    if s.hub.is_offline:
        remedy = "unset it to search and download"
        found = "switched off by HF_HUB_OFFLINE"
        yield Check("hub", expected, found, Severity.NOTE, remedy)
        return
    host = _host(s.hub.endpoint)
    if not host:
        remedy = "set it to one such as https://huggingface.co, or unset it"
        found = "HF_ENDPOINT is no address"
        yield Check("hub", expected, found, Severity.ERROR, remedy)
        return
    authorization = _authorization(s)
    is_login = authorization is not None
    try:
        _get(s, "/api/whoami-v2" if is_login else "/api/models?limit=1", authorization)
    except Broken as error:
        remedy = "check the network and its proxy, or HF_ENDPOINT; models here work all the same"
        found = f"{host} can't be reached: {error}"
        yield Check("hub", expected, found, Severity.WARNING, remedy)
    except Refused as error:
        yield _refusal(host, error, is_login=is_login)
    else:
        known = ", and knows the login" if is_login else ""
        yield Check("hub", expected, f"{host} answers{known}")


def _refusal(host: str, error: Refused, *, is_login: bool) -> Check:
    if is_login and error.status in (401, 403):
        remedy = "run `hf auth login` again, or take the old token out of HF_TOKEN"
        found = f"{host} refused the login ({error.status})"
        return Check("hub", "the hub knows the login", found, Severity.ERROR, remedy)
    found = f"{host} answered {error.status}"
    remedy = "try again later; if it stays so, check HF_ENDPOINT"
    return Check("hub", "the hub answers", found, Severity.WARNING, remedy)


def _host(endpoint: str) -> str:
    """Return host and port of an address, without what may stand before them; empty for none."""
    try:
        parts = urlsplit(endpoint)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return ""
    is_address = parts.scheme in ("http", "https") and parts.hostname is not None
    return f"{parts.hostname}{port}" if is_address else ""


def _authorization(s: Surroundings) -> str | None:
    """Return the header that the hub's own client would send."""
    try:
        token = "" if s.login is None else read_token(s.login)
    except OSError:  # told by the login's own check
        return None
    return f"Bearer {token}" if token.isascii() and token.isprintable() and token else None


def _get(s: Surroundings, path: str, authorization: str | None) -> None:
    """Ask. Raises Broken or Refused."""
    url = s.hub.endpoint.rstrip("/")
    connections = Connections(Endpoint(url, authorization), TIMEOUT_S)
    try:
        with connections.get(f"{url}{path}") as answer:
            answer.read_all(_MAX_ANSWER)
    finally:
        connections.close()


def check_port(s: Surroundings) -> Iterator[Check]:
    """Tell whether the server could listen where it would."""
    from mtplx_tui.server.listening import PortTaken, ServerTrouble, listen

    host, port = s.address
    expected = f"port {port} of {host} is free"
    try:
        listen(host, port).close()
    except PortTaken as error:
        pid, name = _holder(s.root, port)
        if pid == os.getpid():
            yield Check("server port", expected, "this app's own server listens there")
            return
        by = "" if pid is None else f" by {name} (process {pid})"
        free = "another port" if error.free is None else f"port {error.free}, which is free"
        remedy = f"end what listens there, or let the server take {free} (serve --port)"
        yield Check("server port", expected, f"taken{by}", Severity.WARNING, remedy)
    except ServerTrouble as error:
        yield Check("server port", expected, error.message, Severity.ERROR, error.remedy)
    else:
        yield Check("server port", expected, "free")


def _holder(root: Path, port: int) -> tuple[int | None, str]:
    """Return the process that listens at a port and its name, as far as this user may know."""
    if sys.platform == "darwin":
        return _holder_on_mac(port)
    sockets = _listening(root, port)
    for folder in root.glob("proc/[0-9]*/fd"):
        with contextlib.suppress(OSError):  # it ended, or is another user's
            if any(os.readlink(link) in sockets for link in folder.iterdir()):
                name = (folder.parent / "comm").read_text("utf-8", "replace").strip()
                return int(folder.parent.name), name
    return None, ""


def _listening(root: Path, port: int) -> set[str]:
    """Return the names that the links of a process to sockets listening at a port have."""
    found = set()
    for table in ("proc/net/tcp", "proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in (root / table).read_text("ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found


def _holder_on_mac(port: int) -> tuple[int | None, str]:
    command = ["/usr/sbin/lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout
    except (OSError, subprocess.SubprocessError):
        return None, ""
    match = re.search(r"^p(\d+)\nc(.+)$", told, re.MULTILINE)
    return (None, "") if match is None else (int(match[1]), match[2])
