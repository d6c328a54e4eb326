#!/usr/bin/env bash
# The formatter is law: `make format` mends what this finds.
set -u
cd "${1:-$(dirname "$0")/../..}" || exit 2
find base lun conf target tests initiator-tests -name '*.[ch]' 2>/dev/null | sort |
	xargs -r clang-format --dry-run -Werror 2>&1 | grep -E '^[^ ]+:[0-9]+:' |
	sed 's/:[0-9]*: error: /: /' | sort -u
[ "${PIPESTATUS[2]}" -eq 0 ]
