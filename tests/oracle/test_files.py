"""Files are opened and written without following, waiting for or replacing what is not theirs."""

import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

from semirobust.core import files, links
from semirobust.core.errors import InputError
from tests.kinds import attempt


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _link(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.write_bytes(b"secret")
    path.symlink_to(target)


def _hard_link(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.write_bytes(b"secret")
    path.hardlink_to(target)


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def _to_a_folder(path: Path) -> None:
    path.with_name("folder").mkdir()
    path.symlink_to("folder")


def _folder(path: Path) -> None:
    path.mkdir()


def _socket(path: Path) -> None:
    os.chdir(path.parent)  # the name of a socket may have a hundred characters
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


def _device(path: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this user may not make devices")


_STRANGE = [_pipe, _link, _hard_link, _dangling, _to_a_folder, _folder, _socket, _device]


@pytest.mark.parametrize("make", _STRANGE)
@attempt(
    "a link, a hard link, a named pipe, a socket, a device or a folder where a file is read",
    "refused in a sentence before it is opened; nothing waits",
    promise="outside",
)
def test_only_plain_files_are_read(make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "x")
    with pytest.raises(InputError, match="x: (is a symbolic|expected a plain|has 2 names)"):
        files.read_bytes(tmp_path / "x")


@pytest.mark.parametrize("make", _STRANGE)
@attempt(
    "the same where a file is written",
    "refused; it is what it was, and so is what a link leads to",
    promise="outside",
)
def test_only_plain_files_are_replaced(make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "x")
    before = {p.name: os.lstat(p)[:3] for p in tmp_path.iterdir()}
    with pytest.raises(InputError, match="x: (is a symbolic|expected a plain|has 2 names)"):
        files.write_atomically(tmp_path / "x", b"ours")
    assert {p.name: os.lstat(p)[:3] for p in tmp_path.iterdir()} == before
    if (tmp_path / "elsewhere").exists():
        assert (tmp_path / "elsewhere").read_bytes() == b"secret"


@attempt(
    "a folder within a run or data folder that is a link",
    "what lies behind it is not read, written, renamed or deleted",
    promise="outside",
)
def test_nothing_behind_a_linked_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_bytes(b"mine")
    (tmp_path / "run" / "records").symlink_to(tmp_path / "mine")
    inside = tmp_path / "run" / "records" / "x"
    for touch in (
        lambda: files.read_bytes(inside),
        lambda: files.write_atomically(inside, b"ours"),
        lambda: files.write_atomically(inside.with_name("new") / "deep", b"ours"),
        lambda: files.delete(inside),
        lambda: files.move(inside, tmp_path / "run" / "x"),
        lambda: files.make_folder(inside.with_name("new")),
    ):
        with pytest.raises(InputError, match="symbolic link"):
            touch()
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["x"]
    assert (tmp_path / "mine" / "x").read_bytes() == b"mine"


@attempt(
    "a file that never ends, or grows while it is read",
    "read up to the size it may have and no further",
    promise="small",
)
def test_endless_files_have_an_end(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"0" * 5000)
    with pytest.raises(InputError, match="at most 4,000 bytes, got 5,000"):
        files.read_bytes(file, most=4000)
    assert len(files.read_bytes(file, most=5000)) == 5000
    with files.opened(file, most=6000) as opened, file.open("ab") as writer:
        assert len(opened.read(10)) == 10
        writer.write(b"0" * 50_000)
        writer.flush()
        with pytest.raises(InputError, match="more"):
            opened.read()


def test_a_file_that_is_named_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.bin").write_bytes(b"weights")
    (tmp_path / "linked").symlink_to("real")
    (tmp_path / "real" / "y.bin").symlink_to("x.bin")
    named = links.given_file(tmp_path / "linked" / "y.bin")
    assert named == tmp_path / "real" / "y.bin"
    assert files.read_bytes(named) == b"weights"
    files.write_atomically(links.given_out(tmp_path / "linked" / "new"), b"ours")
    assert (tmp_path / "real" / "new").read_bytes() == b"ours"
    with pytest.raises(InputError, match="symbolic link"):
        files.write_atomically(named, b"ours")
    assert links.given_folder("a/b") == Path("a/b")


def test_links_of_the_hub_lead_to_its_blobs_alone(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--x" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--x" / "blobs").mkdir()
    (tmp_path / "models--x" / "blobs" / "abc").write_bytes(b"weights")
    (tmp_path / "secret").write_bytes(b"secret")
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    (snapshot / "other.json").symlink_to("../../../secret")
    assert files.read_bytes(snapshot / "config.json") == b"weights"
    with pytest.raises(InputError, match="symbolic link"):
        files.read_bytes(snapshot / "other.json")


@attempt(
    "a private file, a restrictive umask, a folder that gives its group on",
    "a file that is replaced keeps its mode; a new one has that of any new file",
    promise="outside",
)
def test_modes_stay_as_restrictive_as_they_were(tmp_path: Path) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    (tmp_path / "private").write_bytes(b"old")
    (tmp_path / "private").chmod(0o600)
    files.write_atomically(tmp_path / "private", b"new")
    assert mode(tmp_path / "private") == 0o600
    (tmp_path / "open").write_bytes(b"old")
    (tmp_path / "open").chmod(0o664)
    files.write_atomically(tmp_path / "open", b"new")
    assert mode(tmp_path / "open") == 0o664
    for mask, expected in ((0o077, 0o600), (0o027, 0o640), (0o022, 0o644), (0o002, 0o664)):
        before = os.umask(mask)
        try:
            files.write_atomically(tmp_path / str(mask), b"new")
        finally:
            os.umask(before)
        assert mode(tmp_path / str(mask)) == expected
    group = tmp_path / "group"
    group.mkdir()
    try:
        shutil.chown(group, group=1)
    except PermissionError:
        return
    group.chmod(0o2770)
    files.write_atomically(group / "x", b"new")
    files.write_atomically(group / "x", b"newer")
    assert (group / "x").stat().st_gid == 1
