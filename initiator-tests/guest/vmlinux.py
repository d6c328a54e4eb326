#!/usr/bin/env python3
"""vmlinux.py VMLINUZ VMLINUX: the kernel that a bzImage carries, uncompressed.

QEMU starts such a kernel through PVH, which saves the decompression in an emulated processor. Offsets:
Documentation/x86/boot.rst of Linux, "setup_sects" and "payload_offset", boot protocol 2.08.
"""
import lzma
import struct
import sys
import zlib

SETUP_SECTS, HEADER_MAGIC, PAYLOAD_OFFSET, PAYLOAD_LENGTH = 0x1F1, 0x202, 0x248, 0x24C


def payload(image):
    if image[HEADER_MAGIC:HEADER_MAGIC + 4] != b"HdrS":
        raise ValueError("not a bzImage")
    start = ((image[SETUP_SECTS] or 4) + 1) * 512
    offset, = struct.unpack_from("<I", image, PAYLOAD_OFFSET)
    length, = struct.unpack_from("<I", image, PAYLOAD_LENGTH)
    return image[start + offset:start + offset + length]


def unpack(data):
    if data.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(data)
    if data.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(data)
    raise ValueError("compressed neither by xz nor by gzip")


def main():
    with open(sys.argv[1], "rb") as source, open(sys.argv[2], "wb") as out:
        out.write(unpack(payload(source.read())))


main()
