"""Exit 0 if this process may create an io_uring, else say why not and exit 1."""
import ctypes
import os
import sys

SYS_IO_URING_SETUP = 425  # The same number on every architecture.

libc = ctypes.CDLL(None, use_errno=True)
parameters = ctypes.create_string_buffer(120)  # struct io_uring_params, all zero.
ring = libc.syscall(SYS_IO_URING_SETUP, 2, parameters)
if ring < 0:
    error = os.strerror(ctypes.get_errno())
    print(f"io_uring is refused here ({error}): see kernel.io_uring_disabled and seccomp filters")
    sys.exit(1)
os.close(ring)
