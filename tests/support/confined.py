"""Starts a program that can read and write everything but its neighbours' directories.

``python confined.py BASE OWN COMMAND…``: of the directory BASE the command sees only
OWN. Landlock does it, for any user; where the kernel lacks Landlock, empty file systems
are mounted over the neighbours in a mount namespace of the command's own.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
PATH_BENEATH = 1
NO_NEW_PRIVS = 38
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
ALL_OF_ABI_2 = (1 << 14) - 1
ASK_VERSION = 1
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE

NEW_NAMESPACES = 0x00020000 | 0x10000000  # mount, user
REC_PRIVATE = 0x4000 | 0x40000


class Ruleset(ctypes.Structure):
    """``struct landlock_ruleset_attr``, as far as it names rights on files."""

    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class PathBeneath(ctypes.Structure):
    """``struct landlock_path_beneath_attr``."""

    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def everything_but_neighbours(base: Path, own: Path) -> Iterator[Path]:
    """Yield paths that together hold all files except those of `own`'s neighbours."""
    yield own
    here = base
    while here != here.parent:
        above = here.parent
        # A symbolic link may lead back to the neighbours; what it leads to elsewhere
        # is listed as itself.
        yield from (p for p in above.iterdir() if p != here and not p.is_symlink())
        here = above


def landlock(base: Path, own: Path) -> None:
    """Restrict this process, and what it starts, by Landlock."""
    version = _checked(_LIBC.syscall(CREATE_RULESET, None, 0, ASK_VERSION), "landlock")
    if version < 2:
        raise OSError("landlock 1 forbids to move files from directory to directory")
    attributes = Ruleset(ALL_OF_ABI_2)
    size = ctypes.sizeof(attributes)
    ruleset = _checked(
        _LIBC.syscall(CREATE_RULESET, ctypes.byref(attributes), size, 0), "landlock"
    )
    for path in everything_but_neighbours(base, own):
        _allow(ruleset, path)
    _checked(_LIBC.prctl(NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _checked(_LIBC.syscall(RESTRICT_SELF, ruleset, 0), "landlock")
    os.close(ruleset)


def _allow(ruleset: int, path: Path) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # a temporary file of somebody else, gone since it was listed
    rights = ALL_OF_ABI_2 if path.is_dir() else FILE_RIGHTS
    rule = PathBeneath(rights, opened)
    arguments = (ruleset, PATH_BENEATH, ctypes.byref(rule), 0)
    _checked(_LIBC.syscall(ADD_RULE, *arguments), f"landlock rule for {path}")
    os.close(opened)


def mount_namespace(base: Path, own: Path) -> None:
    """Hide the neighbours below empty file systems that only this process sees."""
    user, group = os.getuid(), os.getgid()
    _checked(_LIBC.unshare(NEW_NAMESPACES), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _checked(_LIBC.mount(None, b"/", None, REC_PRIVATE, None), "mount")
    for neighbour in base.iterdir():
        if neighbour != own:
            point = os.fsencode(neighbour)
            _checked(_LIBC.mount(b"none", point, b"tmpfs", 0, None), "mount")


def confine(base: Path, own: Path) -> None:
    """Let this process, and what it starts, see only `own` of `base`."""
    places = base.resolve(), own.resolve()
    try:
        landlock(*places)
    except OSError as error:
        print(f"{error}; trying a mount namespace", file=sys.stderr)
        mount_namespace(*places)


def main() -> None:
    """Confine this process, then become the command."""
    base, own, *command = sys.argv[1:]
    confine(Path(base), Path(own))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
