#!/usr/bin/env bash
# `ringsan image` on images that nobody serves: every verb, with qemu-img as the second opinion.
# One engine is enough: nothing here depends on which.
. "$(dirname "$0")/lib.sh"
images_in_memory

limited python3 initiator-tests/image_cli.py "$(realpath "$B")/$RINGSAN_VARIANT/ringsan" "$images" ||
	fail 'image_cli.py' 'see above'
cases_end
