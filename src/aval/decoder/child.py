"""The process a file is decoded in: `python -m aval.decoder.child <media type>`, file on stdin, picture on stdout.

It gives up what it could do before it reads a byte: memory, time, new files, sockets, other processes. Its exit status
is its only word.
"""

import ctypes
import errno
import os
import resource
import sys
from contextlib import suppress

CPU_S = 5  # these two: promises.md DV9
MEMORY_BYTES = 512 * 1024 * 1024
OUTPUT_BYTES_MAX = 32 * 1024 * 1024
UNREADABLE, NO_SPACE = 3, 4  # exit statuses: it is the file's fault, or this machine's
NOBODY = 65_534
_NEW_USER, _NEW_NETWORK = 0x1000_0000, 0x4000_0000  # of unshare(2)
_NO_NEW_PRIVILEGES = 38  # of prctl(2)


def main() -> int:
    """Rewrite stdin to stdout; 0 when that went well."""
    media_type = sys.argv[1]
    _limit(resource.RLIMIT_CPU, CPU_S)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_FSIZE, OUTPUT_BYTES_MAX)
    _limit(resource.RLIMIT_CORE, 0)
    # Only now: what the parsers take up counts, and after the next step nothing could be imported any more.
    from aval.decoder.rewrite import practise, rewrite  # noqa: PLC0415
    from aval.decoder.verdict import Unreadable  # noqa: PLC0415

    practise()
    _leave_the_world()
    with os.fdopen(0, "rb", closefd=False) as source, os.fdopen(1, "wb", closefd=False) as target:
        try:
            rewrite(source, target, media_type)
            target.flush()
        except (Unreadable, OSError, MemoryError, RecursionError) as fault:
            return NO_SPACE if _is_for_space(fault) else UNREADABLE
    return 0


def _is_for_space(fault: BaseException) -> bool:
    cause = fault.__context__ or fault  # what a parser met is told as Unreadable
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def _leave_the_world() -> None:
    """Become nobody, without a network where the system permits, and unable to open anything more."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    if sys.platform == "linux":
        system = ctypes.CDLL(None, use_errno=True)
        system.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        system.unshare(_NEW_USER | _NEW_NETWORK)  # refused in many containers; the next line holds everywhere
    _limit(resource.RLIMIT_NOFILE, 3)  # every file and every socket would be a fourth
    _limit(resource.RLIMIT_NPROC, 0)


def _limit(what: int, most: int) -> None:
    with suppress(ValueError, OSError):  # a system without this limit, or with a lower one
        resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    os._exit(main())
