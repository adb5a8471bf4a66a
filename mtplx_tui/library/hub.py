"""The hub: search, and what a repository holds at a commit. Its own client does the talking.

Every failure is told in one sentence with what to do about it. The token is the hub's own
login; it is in no message and no log.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlencode, urlsplit

from engine.verdict.bounded_json import check_cost
from mtplx_tui.config import find_hub
from mtplx_tui.library.hub_cache import (
    CacheRefused,
    RepoFile,
    check_path,
    check_repository,
    check_revision,
    is_commit,
)
from mtplx_tui.library.transport import Broken, Connections, Endpoint, Refused
from mtplx_tui.remedies import NeedsRemedy

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

__all__ = ["Found", "Hub", "HubError", "Listing", "Query", "refusal"]

PAGE = 50
"""Models found at a time, unless more are asked for."""
_MAX_FILES = 20_000
_MAX_PAGE = 16 * 2**20
_NETWORK = "check the network, or HF_ENDPOINT if it is set"
_MAX_SIZE = 2**50
_FIELDS = (
    "downloads", "lastModified", "gated", "tags", "usedStorage", "sha", "config",
)  # fmt: skip


class HubError(NeedsRemedy):
    """Something the hub, or the way to it, did not give; message and remedy are one line each."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to search for."""

    words: str = ""
    author: str = ""
    tags: tuple[str, ...] = ()
    """All of them must be there; such as mlx, or 4-bit."""
    sort: Literal["downloads", "likes", "lastModified"] = "downloads"


@dataclass(frozen=True, slots=True)
class Found:
    """A repository that a search found."""

    name: str
    commit: str
    """Empty where the hub doesn't tell."""
    size: int | None
    """Bytes of the repository with all its revisions."""
    downloads: int
    changed: str
    """The day, as 2026-11-24; empty if unknown."""
    is_gated: bool
    model_type: str
    license: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at a commit."""

    name: str
    """As the hub calls it now; it may have been renamed."""
    revision: str
    """What was asked for."""
    commit: str
    files: tuple[RepoFile, ...]
    is_gated: bool
    license: str
    tags: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def file(self, path: str) -> RepoFile | None:
        """Return a file by its path."""
        return next((file for file in self.files if file.path == path), None)


class Hub:
    """A hub as this person sees it. Slow: to be used from a thread.

    Args:
        url: the endpoint; None for the one the settings name.
        token: None for the hub's own login, empty for none.

    Raises:
        HubError: offline by the person's own wish, or the endpoint is no address.
    """

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        found = find_hub()
        if found.is_offline:
            raise HubError("the hub is switched off by HF_HUB_OFFLINE", "unset it to use the hub")
        self._url = (url or found.endpoint).rstrip("/")
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise HubError(
                f"HF_ENDPOINT is {ascii(self._url)[:80]}, which is no address",
                "set it to one such as https://huggingface.co",
            )
        from huggingface_hub import HfApi
        from huggingface_hub.utils import build_hf_headers, disable_progress_bars

        disable_progress_bars()
        login = False if token == "" else token
        self._api: HfApi = HfApi(endpoint=self._url, token=login)
        try:
            authorization = build_hf_headers(token=login).get("authorization")
        except ValueError:  # a login that can't be a header
            authorization = None
        self.endpoint = Endpoint(self._url, authorization)

    def search(self, query: Query, limit: int = PAGE) -> Iterator[Found]:
        """Find repositories, the first so many; a page is asked for when it is wanted.

        Asked for here and not by the hub's client, which waits half a minute for a hub that
        is down; a person who types won't.

        Raises:
            HubError: the search failed; also in the middle.
        """
        asked = [
            *((("search", query.words),) if query.words else ()),
            *((("author", query.author),) if query.author else ()),
            *(("filter", tag) for tag in query.tags),
            ("sort", query.sort),
            ("limit", str(min(limit, PAGE))),
            *(("expand", field) for field in _FIELDS),
        ]
        url: str | None = f"{self._url}/api/models?{urlencode(asked)}"
        connections = Connections(self.endpoint)
        try:
            while url is not None and limit > 0:
                with connections.get(url) as answer:
                    page = _models(answer.read_all(_MAX_PAGE))[:limit]
                    url = answer.following
                limit = limit - len(page) if page else 0
                yield from page
        except Broken as error:
            raise HubError(f"the hub can't be reached: {error}", _NETWORK) from error
        except Refused as error:
            if error.status in (401, 403):
                raise HubError("the hub refused the login", "run `hf auth login` again") from error
            raise refusal(error, "the search", self._url) from error
        finally:
            connections.close()

    def listing(self, name: str, revision: str = "main") -> Listing:
        """Return what a repository holds at a revision.

        Raises:
            HubError: it is not there, not open to this person, or the hub can't be reached.
            CacheRefused: it names files that must not be written.
        """
        check_repository(name)
        check_revision(revision)
        with _explaining(name):
            info = self._api.model_info(name, revision=revision, files_metadata=True)
        return _listing(info, name, revision)

    def file_url(self, name: str, commit: str, path: str) -> str:
        """Return where a file of a commit is fetched from."""
        return f"{self._url}/{name}/resolve/{quote(commit, safe='')}/{quote(path)}"

    def page_url(self, name: str) -> str:
        """Return the page where a person reads about a repository."""
        return f"{self._url}/{name}"


def refusal(error: Refused, name: str, page: str) -> HubError:
    """Return what a refused request for a file means."""
    if error.code == "GatedRepo":
        return _gated(name, page)
    if error.status in (401, 403):
        return _hidden(name)
    if error.status in (404, 410):
        if error.code == "RepoNotFound":
            return _hidden(name)
        return HubError(
            f"{name} changed or was deleted while it was read", "look at it again, then retry"
        )
    if error.status == 429:
        return _busy()
    return HubError(f"the hub answered {error.status} for {name}", "try again in some minutes")


def _gated(name: str, page: str) -> HubError:
    return HubError(
        f"{name} is gated: its owner asks for an agreement first",
        f"accept it at {page}, run `hf auth login`, then try again",
    )


def _hidden(name: str) -> HubError:
    return HubError(
        f"{name} is not on the hub, or not open to you",
        "check its name; if it is private, run `hf auth login` first",
    )


def _busy() -> HubError:
    return HubError(
        "the hub is asked too often from here", "wait five minutes, or run `hf auth login`"
    )


@contextmanager
def _explaining(what: str) -> Generator[None]:
    """Turn what the hub's client raises into HubError."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise _gated(what, "its page on the hub") from error
    except errors.RevisionNotFoundError as error:
        raise HubError(
            f"{what} has no such revision", "name a branch, a tag or a commit of it"
        ) from error
    except (errors.RepositoryNotFoundError, errors.DisabledRepoError) as error:
        raise _hidden(what) from error
    except errors.OfflineModeIsEnabled as error:
        raise HubError(
            "the hub is switched off by HF_HUB_OFFLINE", "unset it to use the hub"
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status == 429:
            raise _busy() from error
        if status in (401, 403):
            raise HubError("the hub refused the login", "run `hf auth login` again") from error
        raise HubError(
            f"the hub answered {status} for {what}", "try again in some minutes"
        ) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise HubError("the hub can't be reached", _NETWORK) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        # The client trusts the form of what it is sent.
        raise HubError(
            f"the hub's answer about {what} makes no sense", "check HF_ENDPOINT if it is set"
        ) from error


def _models(raw: bytes) -> list[Found]:
    try:
        check_cost(raw, max_depth=32, max_parts=2_000_000)
        models = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Broken("its answer makes no sense") from error
    if not isinstance(models, list):
        raise Broken("its answer is no list of models")
    return [found for model in models if (found := _found(model)) is not None]


def _found(model: object) -> Found | None:
    """Return a model of a search's answer; None where it has no name that can be used."""
    if not isinstance(model, dict):
        return None
    name, commit, config = model.get("id"), model.get("sha"), model.get("config")
    try:
        check_repository(name if isinstance(name, str) else "")
    except CacheRefused:
        return None
    tags = model.get("tags")
    tags = tuple(str(tag)[:80] for tag in tags[:200]) if isinstance(tags, list) else ()
    model_type = config.get("model_type") if isinstance(config, dict) else None
    return Found(
        name=str(name),
        commit=commit if isinstance(commit, str) and is_commit(commit) else "",
        size=_count(model.get("usedStorage")),
        downloads=_count(model.get("downloads")) or 0,
        changed=str(model.get("lastModified") or "")[:10],
        is_gated=bool(model.get("gated")),
        model_type=model_type[:40] if isinstance(model_type, str) else "",
        license=_license(tags),
        tags=tags,
    )


def _listing(info: ModelInfo, name: str, revision: str) -> Listing:
    siblings = info.siblings or []
    if len(siblings) > _MAX_FILES:
        raise HubError(f"{name} lists {len(siblings)} files", "that is too many to be a model")
    files = []
    for sibling in siblings:
        check_path(sibling.rfilename)
        lfs = sibling.lfs
        etag = lfs.sha256 if lfs is not None else sibling.blob_id
        size = _count(lfs.size if lfs is not None else sibling.size)
        if etag is not None and size is not None:
            files.append(RepoFile(sibling.rfilename, size, etag))
    check_repository(info.id)
    tags = _tags(info)
    return Listing(
        name=info.id,
        revision=revision,
        commit=info.sha or "",
        files=tuple(files),
        is_gated=bool(info.gated),
        license=_license(tags),
        tags=tags,
    )


def _tags(model: ModelInfo) -> tuple[str, ...]:
    return tuple(str(tag)[:80] for tag in model.tags or ())


def _license(tags: tuple[str, ...]) -> str:
    return next((tag[8:48] for tag in tags if tag.startswith("license:")), "")


def _count(value: object) -> int | None:
    """Return a believable number of bytes or downloads."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= _MAX_SIZE else None
