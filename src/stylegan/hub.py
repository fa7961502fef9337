"""The Hugging Face Hub: `hf://user/model` names, fetching a model file, pushing a folder's worth of files.

Uses the package `huggingface_hub` (extra `hub`), and with it its cache, tokens, HF_ENDPOINT and HF_HUB_OFFLINE.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stylegan.errors import UserError

DEFAULT_FILE = "model.safetensors"
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_PART}/{_PART}")
_URI = re.compile(r"hf:/{1,2}([^/@]+/[^/@]+)(?:@([^/@]+))?(?:/([^@]+))?")


@dataclass(frozen=True)
class Reference:
    """What an hf:// address names. revision None: the default branch."""

    repo: str
    revision: str | None = None
    file: str = DEFAULT_FILE

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"hf://{self.repo}{at}" + ("" if self.file == DEFAULT_FILE else f"/{self.file}")


def is_reference(path: str | Path) -> bool:
    """Whether this is an hf:// address (a Path makes `hf:/` of it, which counts as well)."""
    return _text(path).startswith("hf:/")


def parse(path: str | Path) -> Reference:
    """The parts of hf://user/model[@revision][/file]; UserError for anything else."""
    text = _text(path)
    match = _URI.fullmatch(text)
    if match is None:
        raise UserError(f"{text}: write hf://user/model, hf://user/model@revision or hf://user/model/file.safetensors")
    found = Reference(check_name(match[1]), match[2], match[3] or DEFAULT_FILE)
    if ".." in found.file.split("/"):
        raise UserError(f"{text}: a file name with '..' in it")
    return found


def check_name(name: str) -> str:
    """`user/model` as it is; UserError where the Hub does not allow such a name."""
    if _NAME.fullmatch(name) is None or "--" in name or ".." in name or name.endswith(".git") or len(name) > 96:
        raise UserError(
            f"{name}: no name on the Hub; write user/model with letters, digits, '-', '_' and '.' (no '--' or '..', at "
            f"most 96 characters)"
        )
    return name


def fetch(path: str | Path, token: str | None = None, cache: str | Path | None = None) -> Path:
    """The file that an hf:// address names, in the local cache: fetched where it is not there in this version.

    cache None: huggingface_hub's own. UserError for a bad or unknown name, without access, offline, and without
    the package.
    """
    reference = parse(path)
    library = _library()
    with _explained(reference):
        found = library.hf_hub_download(
            reference.repo,
            reference.file,
            revision=reference.revision,
            token=token,
            cache_dir=cache,
            endpoint=_endpoint(),
            library_name="stylegan-torch",
        )
    return Path(found)


def push(
    files: Mapping[str, bytes],  # name in the repository -> contents
    name: str,
    message: str,
    private: bool = False,
    token: str | None = None,  # None: HF_TOKEN, or what `hf auth login` stored
) -> str:
    """Makes the repository where it does not exist, and adds the files in one commit; returns its address.

    UserError as for `fetch`, and where a private repository is asked for and a public one of that name exists.
    """
    reference = Reference(check_name(name))
    library = _library()
    with _explained(reference):
        api = library.HfApi(endpoint=_endpoint(), token=token, library_name="stylegan-torch")
        url = str(api.create_repo(name, private=private, exist_ok=True, repo_type="model"))
        if private and not api.repo_info(name).private:
            raise UserError(f"{name}: exists and is public; make it private in its settings first, or choose another")
        operations = [
            library.CommitOperationAdd(path_in_repo=file, path_or_fileobj=data) for file, data in files.items()
        ]
        api.create_commit(name, operations=operations, commit_message=message)
    return url


def _text(path: str | Path) -> str:
    return path.as_posix() if isinstance(path, Path) else path


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def check_installed() -> None:
    """UserError, before anything slow, where the package is missing."""
    _library()


def _library() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise UserError(
            "models on the Hugging Face Hub need the package huggingface_hub: pip install 'stylegan-torch[hub]'"
        ) from None


@contextmanager
def _explained(reference: Reference) -> Iterator[None]:
    """Turns the library's errors into sentences."""
    errors: Any = importlib.import_module("huggingface_hub.errors")
    network: Any = getattr(errors, "HTTPError", OSError)  # httpx's, which is no OSError
    where = str(reference)
    try:
        yield
    except UserError:
        raise
    except errors.HFValidationError as error:
        raise UserError(f"{where}: {_first_line(error)}") from None
    except errors.GatedRepoError:
        raise UserError(f"{where}: asks for consent first; give it on its page, then `hf auth login`") from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{where}: has no revision {reference.revision}") from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"{where}: not found on the Hub, or private; check the name, and log in with `hf auth login`"
        ) from None
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError):
        raise UserError(
            f"{where}: the Hub cannot be reached, or HF_HUB_OFFLINE is set, and the file is not in the local cache"
        ) from None
    except errors.EntryNotFoundError:
        raise UserError(
            f"{where}: has no file {reference.file}; name another as hf://{reference.repo}/FILE"
        ) from None
    except errors.LocalTokenNotFoundError:
        raise UserError(f"{where}: no token to log in with; run `hf auth login`, or set HF_TOKEN") from None
    except (network, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise UserError(f"{where}: not allowed ({status}); is the token valid, and may it write there?") from None
        raise UserError(f"{where}: the Hub cannot be reached or refused ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
