"""Models on the Hugging Face Hub: an exported folder fetched, and one handed over."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from gan_lightning.runtime.errors import one_line, printable
from gan_lightning.runtime.exported import CONFIG, FILES, WEIGHTS


def is_name(text: str) -> bool:
    """Whether it may be the name of a repository, "user/name"."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text, re.ASCII) is not None and not text.endswith(".ckpt")


def library() -> ModuleType:
    """The package huggingface_hub, which is optional.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise ValueError("the Hugging Face Hub needs its package: pip install 'gan_lightning[hub]'") from None
    return huggingface_hub


def download(name: str, revision: str | None = None) -> Path:
    """The folder, in the Hub's cache, of a repository's exported model; its two files are fetched, and no others.

    Args:
        name: "user/name".
        revision: a branch, tag or commit; None for the newest.

    Raises:
        ValueError: huggingface_hub is not installed, or the repository cannot be had.
    """
    hub = library()
    try:
        found = hub.snapshot_download(name, revision=revision, allow_patterns=[CONFIG, WEIGHTS])
    except Exception as error:  # of the network, of the server, of the cache
        raise ValueError(
            f"there is no file or folder {name} here, and the Hugging Face Hub does not give it: {one_line(error, 200)}"
        ) from error
    if not Path(found, CONFIG).is_file():
        raise ValueError(f"{name} on the Hugging Face Hub holds no {CONFIG}: it is no model that `export --push` wrote")
    return Path(found)


def require_token(name: str) -> None:
    """Refuse, before any work, to hand over what cannot be.

    Raises:
        ValueError: `name` is no "user/name", huggingface_hub is not installed, or has no token.
    """
    if not is_name(name):
        raise ValueError(f"--push {printable(name)}: name the repository as user/name")
    if library().get_token() is None:
        raise ValueError("--push needs a token of the Hugging Face Hub: run `hf auth login`, or set HF_TOKEN")


def push(folder: Path, files: Sequence[str], name: str, private: bool) -> str:
    """Upload files of a folder into a repository, which is made where there is none.

    Args:
        folder: that holds them.
        files: their names.
        name: "user/name".
        private: nobody but its owner sees it.

    Returns:
        its address.

    Raises:
        ValueError: it is there and public though `private` was asked for, or the Hub refuses.
    """
    hub = library()
    try:
        api = hub.HfApi()
        address = api.create_repo(name, private=private or None, exist_ok=True)
        if private and not api.repo_info(name).private:
            raise ValueError("the repository is there, and public: leave --private out, or choose another name")
        api.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=list(files),
            delete_patterns=list(FILES),  # those of an earlier export that this one does not have
            commit_message="Export of gan_lightning",
        )
    except Exception as error:  # of the network, of the server
        raise ValueError(f"--push {name}: {one_line(error, 200)}") from error
    return str(address)
