#!/usr/bin/env bash
# Nothing is allocated on the data path: in its layers only the files of allocation.list ask for memory,
# as often as it says there.
set -u
list=$(cd "$(dirname "$0")" && pwd)/allocation.list
cd "${1:-$(dirname "$0")/../..}" || exit 2
[ -z "${1-}" ] || list=$1/allocation.list

# shellcheck disable=SC2016 # The dollar signs are awk's.
find base lun target/net target/scsi target/iscsi -name '*.[ch]' | sort | xargs -r awk -v list="$list" '
BEGIN {
	while ((getline row < list) > 0)
		if (row !~ /^#/ && split(row, f, " ") >= 3)
			allowed[f[1]] = f[2]
}
/(^|[^a-z_])(malloc|calloc|aligned_calloc|realloc|strdup|strndup|asprintf|vasprintf|aligned_alloc|posix_memalign|mmap|getline|open_memstream)\(/ {
	if (++count[FILENAME] > allowed[FILENAME] + 0) {
		print FILENAME ":" FNR ": asks for memory; see tests/style/allocation.list"
		bad = 1
	}
}
END {
	for (file in allowed)
		if (count[file] + 0 < allowed[file]) {
			print file ":1: asks for memory " count[file] + 0 " times, not " allowed[file] ": shrink allocation.list"
			bad = 1
		}
	exit bad
}'
