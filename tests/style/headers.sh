#!/usr/bin/env bash
# Every header compiles alone: it includes what it uses.
set -u
cd "${1:-$(dirname "$0")/../..}" || exit 2
bad=0

for header in $(find base lun conf target tests initiator-tests -name '*.h' 2>/dev/null | sort); do
	# Through a file that includes it, since gcc warns of what stands in a main file only.
	if ! message=$(printf '#include "%s"\n' "$header" | gcc -std=gnu11 -Wall -Wextra -Werror -I. \
		-D_GNU_SOURCE -fsyntax-only -x c - 2>&1); then
		printf '%s\n' "$message" | grep -E "^[^ ]+:[0-9]+:" | head -n 3
		echo "$header:1: does not compile alone"
		bad=1
	fi
done
exit "$bad"
