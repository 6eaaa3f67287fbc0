"""Only regular files are opened: whatever else lies in their place is refused at once, and named."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from cbi_queue.regular_files import (
    check_file,
    check_folder,
    failure_of,
    in_words,
    open_file,
    open_to_append,
    plain_words,
    read_whole,
)


def plant(path: Path, kind: str) -> None:
    """Put something that is no regular file at *path*."""
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
        case "device":
            path.symlink_to("/dev/zero")
        case "symbolic link":
            path.symlink_to(path.with_name("elsewhere"))
        case "kernel":
            path.symlink_to("/proc/kmsg")


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "symbolic link"])
def test_what_is_no_regular_file_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    plant(path, kind)
    for act in (check_file, read_whole, open_to_append):
        with pytest.raises(OSError, match=f"it is a {kind}") as caught:
            act(path)
        assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == [path], "nothing was made through the link"


@pytest.mark.parametrize(("kind", "words"), [("device", "it is a device"), ("kernel", "it belongs to the kernel")])
def test_a_link_that_the_user_typed_must_lead_to_a_regular_file(tmp_path: Path, kind: str, words: str) -> None:
    if kind == "kernel" and not Path("/proc/kmsg").is_file():
        pytest.skip("there is no such file here")
    path = tmp_path / "it"
    plant(path, kind)
    with pytest.raises(OSError, match=words):
        read_whole(path, follow=True)
    path.unlink()
    path.with_name("plan").write_bytes(b"day: 1")
    path.symlink_to(path.with_name("plan"))
    assert read_whole(path, follow=True) == b"day: 1"


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.touch()
    os.truncate(path, 1 << 40)  # without any block on the disk
    with pytest.raises(OSError, match=r"it has 1,099,511,627,776 bytes; at most 1,048,576 are read"):
        read_whole(path)


def test_a_missing_file_passes_the_check_and_is_missing_when_it_is_read(tmp_path: Path) -> None:
    check_file(tmp_path / "absent")
    check_folder(tmp_path / "absent")
    with pytest.raises(FileNotFoundError):
        read_whole(tmp_path / "absent")


def test_a_link_to_a_folder_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match="it is a symbolic link"):
        check_folder(tmp_path / "link")
    check_folder(tmp_path)


def test_an_opened_file_blocks_as_usual_and_children_do_not_inherit_it(tmp_path: Path) -> None:
    descriptor = open_file(tmp_path / "new", os.O_RDWR | os.O_CREAT)
    assert (os.get_blocking(descriptor), os.get_inheritable(descriptor)) == (True, False)
    assert os.fstat(descriptor).st_mode & 0o777 == 0o600
    os.close(descriptor)


def test_an_error_of_the_file_system_becomes_a_sentence_with_a_hint(tmp_path: Path) -> None:
    found = in_words(PermissionError(13, "Permission denied", str(tmp_path)))
    assert found.message == f"cannot use {tmp_path}: permission denied"
    assert found.hint is not None
    assert "CBI_STATE_DIR (the queue) or CBI_V14_REPO (data, models, logs)" in found.hint


def test_an_error_of_the_file_system_never_shows_its_number() -> None:
    full = OSError(28, "No space left on device")
    assert plain_words(full) == "no space left on device"
    assert plain_words(full, Path("/a/b")) == "/a/b: no space left on device"
    assert plain_words(OSError(5, "I/O error", "/c"), Path("/a")) == "/c: I/O error"
    assert plain_words(ValueError("our own words")) == "our own words"
    assert failure_of(full) == "no space left on device"
    assert failure_of(ValueError("out of\nrange")) == "ValueError: out of range"
    assert failure_of(KeyboardInterrupt()) == "KeyboardInterrupt"
