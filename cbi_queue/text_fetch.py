"""Weights of FinBERT from the hub: the one place of cbi-queue that downloads any, and only when it is asked to by name.

Of one revision, named by its 40 hex digits, the files that `text_model` reads are taken, by name, and nothing else: no
pickle, no code. What arrives must have the size and the checksum that the hub's own list gives (SHA-256 of large files, git's
SHA-1 of small ones). A folder is there when every file has been checked, or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import asdict, dataclass
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import PART, flush_file, flush_folder, tidy, write_json
from cbi_queue.errors import CbiError, Refused
from cbi_queue.regular_files import plain_words
from cbi_queue.text_model import ALSO_READ, CONFIG, ELSEWHERE, STOCK, TOKENIZER, WEIGHTS, check_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cbi_queue.text_model import TextModel

HUB, ENDPOINT_VARIABLE = "https://huggingface.co", "HF_ENDPOINT"
STOCK_REVISION = "4556d13015211d73dccd3fdd39d39232506f3e43"
"""Of `STOCK`: the head of its main branch."""
RECORD = "fetched.json"
TIMEOUT_S = 60.0
"""Seconds without a byte after which a download is given up."""
MOST_BYTES = 2 << 30
"""Of all files; BERT-base has 440 MB."""
CHUNK_BYTES, MOST_LIST_CHUNKS = 1 << 20, 4
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*\Z", re.ASCII)
_REVISION = re.compile(r"[0-9a-f]{40}\Z")


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file, as the hub lists it."""

    name: str
    size: int
    sha256: str | None
    """Of a large file."""
    git_sha1: str
    """Of git's blob: of a small file its content, of a large one a pointer."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was downloaded."""

    folder: Path
    model: TextModel
    sha256: str
    """Over the names and contents of all files, as `text use` has it."""
    files: dict[str, dict[str, Any]]
    """Name -> size, sha256."""


def files_at(repository: str, revision: str, environ: Mapping[str, str]) -> list[HubFile]:
    """Ask the hub which of the files that are read a revision has.

    Args:
        repository: OWNER/NAME.
        revision: 40 hex digits.
        environ: `HF_ENDPOINT` names a mirror of the hub.

    Raises:
        Refused: where the weights are not there as safetensors, or the answer cannot be used.
        CbiError: when the hub does not answer.
    """
    if not _REPOSITORY.match(repository):
        raise Refused(f"{repository!r} is no repository of the hub; write OWNER/NAME, such as {STOCK}")
    if not _REVISION.match(revision):
        raise Refused(
            f"{revision!r} is no revision; write the 40 hex digits of a commit: a branch may change under its name"
        )
    about = f"{repository} at {revision[:8]}"
    url = f"{_endpoint(environ)}/api/models/{repository}/tree/{revision}"
    listed = _parsed(b"".join(islice(_chunks(url, about), MOST_LIST_CHUNKS)), url)
    wanted = (CONFIG, WEIGHTS, *TOKENIZER, *ALSO_READ)
    found = [listed[name] for name in wanted if name in listed]
    if WEIGHTS not in listed:
        pickles = [name for name in listed if name.endswith((".bin", ".pt", ".h5", ".msgpack"))]
        instead = f"; it has {', '.join(pickles[:3])}, which can run code or is of another library" if pickles else ""
        raise Refused(
            f"{about} has no {WEIGHTS}{instead}: nothing was downloaded",
            hint="name a commit that has it with --revision: the hub's bot offers one as a pull request on the model's page "
            f"(Community); or, {ELSEWHERE}",
        )
    if CONFIG not in listed or not any(name in listed for name in TOKENIZER):
        raise Refused(f"{about} has no {CONFIG}, or neither of {' and '.join(TOKENIZER)}: nothing was downloaded")
    if (total := sum(file.size for file in found)) > MOST_BYTES:
        raise Refused(f"{about} has {total:,} bytes, above the {MOST_BYTES:,} that are downloaded")
    return found


def fetch(
    repository: str,
    revision: str,
    to: Path,
    environ: Mapping[str, str],
    said: Callable[[HubFile], object] = lambda _: None,
) -> Fetched:
    """Download a revision into the new folder *to*, check it and record where it came from.

    Args:
        repository: as `files_at`.
        revision: as `files_at`.
        to: does not exist; the folder above does.
        environ: as `files_at`.
        said: called before each file.

    Raises:
        Refused: as `files_at`; when *to* is there, or what came is no model that can be used. Nothing is left.
        CbiError: when a file did not arrive as it is listed. Nothing is left.
    """
    if to.exists() or to.is_symlink():
        raise Refused(f"{to} is there already; nothing was downloaded", hint="name another folder with --to")
    files = files_at(repository, revision, environ)
    needed = sum(file.size for file in files)
    try:
        if (free := shutil.disk_usage(to.parent).free) < 2 * needed:
            raise Refused(f"{to.parent} has {free:,} bytes free, {2 * needed:,} are needed; nothing was downloaded")
        tidy(to.parent)
        staging = Path(tempfile.mkdtemp(PART, ".text-", to.parent))
    except OSError as exc:
        raise Refused(f"cannot write into {to.parent}: {exc.strerror}; nothing was downloaded") from exc
    try:
        digests = {}
        for file in files:
            said(file)
            url = f"{_endpoint(environ)}/{repository}/resolve/{revision}/{file.name}"
            digests[file.name] = _download(url, file, staging / file.name)
        sha256 = check_model(staging).sha256()
        told = {file.name: {"size": file.size, "sha256": digests[file.name]} for file in files}
        source = {"endpoint": _endpoint(environ), "repository": repository, "revision": revision}
        write_json(staging / RECORD, {**source, "sha256": sha256, "files": told})
        staging.chmod(0o755)
        flush_folder(staging)
        staging.rename(to)
    except OSError as exc:
        raise CbiError(f"cannot write the weights into {to}: {exc.strerror}; nothing was left there") from exc
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Fetched(to, check_model(to), sha256, told)


def as_plain(files: list[HubFile]) -> list[dict[str, Any]]:
    """Return the list as JSON values."""
    return [asdict(file) for file in files]


def _endpoint(environ: Mapping[str, str]) -> str:
    endpoint = (environ.get(ENDPOINT_VARIABLE) or HUB).rstrip("/")
    _refuse_unless_safe(endpoint)
    return endpoint


def _refuse_unless_safe(url: str) -> None:
    """Refuse what is not https; on this machine http is as good."""
    with contextlib.suppress(ValueError):  # `https://[x`
        parts = urllib.parse.urlsplit(url)
        if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
            return
    raise Refused(f"{url} is not https, or no address: it could be anybody's, and nothing was downloaded")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Large files lie on another host: followed to https alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _refuse_unless_safe(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _chunks(url: str, about: str) -> Iterator[bytes]:
    """Yield what is at *url*.

    Raises:
        Refused: when there is no such thing, or it is not open to everybody.
        CbiError: when the hub does not answer, or not to the end.
    """
    opener = urllib.request.build_opener(_SafeRedirects())
    request = urllib.request.Request(url, headers={"User-Agent": "cbi-queue", "Accept-Encoding": "identity"})  # noqa: S310
    came = 0
    try:
        with opener.open(request, timeout=TIMEOUT_S) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                came += len(chunk)
                yield chunk
    except urllib.error.HTTPError as exc:
        exc.close()
        if exc.code in {401, 403, 404}:
            raise Refused(f"{about} is not there, or not open to everybody (HTTP {exc.code} from {url})") from exc
        raise CbiError(f"cannot download {about}: HTTP {exc.code} from {url}", hint="try again later") from exc
    except (OSError, HTTPException) as exc:
        reason = getattr(exc, "reason", None)
        what = f"broke off after {came:,} bytes" if came else "does not answer"
        raise CbiError(
            f"cannot download {about}: {url} {what} ({plain_words(reason if isinstance(reason, OSError) else exc)})",
            hint=f"HF_ENDPOINT names a mirror of the hub; without a network: {ELSEWHERE}",
        ) from exc


def _parsed(content: bytes, url: str) -> dict[str, HubFile]:
    """Return the files of the hub's list by name."""
    try:
        found = {}
        for entry in json.loads(content):
            if entry["type"] == "file":
                large = entry.get("lfs") or {}
                digest = large.get("oid")
                found[entry["path"]] = HubFile(entry["path"], int(entry["size"]), digest, str(entry["oid"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise CbiError(f"cannot read the list of files of {url}: it is not as the hub writes it") from exc
    return found


def _download(url: str, file: HubFile, path: Path) -> str:
    """Write one file to *path* and return its SHA-256.

    Raises:
        CbiError: as `_chunks`; when it has not the size or the checksum of the list.
    """
    sha256, blob, size = hashlib.sha256(), hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False), 0
    with path.open("wb") as out:
        for chunk in _chunks(url, file.name):
            size += len(chunk)
            sha256.update(chunk)
            blob.update(chunk)
            out.write(chunk)
            if size > file.size:
                break
    came, listed = (sha256.hexdigest(), file.sha256) if file.sha256 else (blob.hexdigest(), file.git_sha1)
    if size != file.size or came != listed:
        raise CbiError(
            f"{file.name} is not what the hub lists: {size:,} bytes with checksum {came[:12]} came, {file.size:,} bytes with "
            f"{str(listed)[:12]} were to come; nothing was left",
            hint="try again; if it stays so, do not use that source",
        )
    flush_file(path)
    return sha256.hexdigest()
