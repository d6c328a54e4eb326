#!/usr/bin/env bash
# A function has at most 70 lines, and half of a layer's functions have at most 12. Functions that are
# longer stand in function_length.list ("file function lines"), which may only shrink: an entry whose
# function is gone, or shorter than it says, is an error, too.
set -u
list=$(cd "$(dirname "$0")" && pwd)/function_length.list
cd "${1:-$(dirname "$0")/../..}" || exit 2
[ -z "${1-}" ] || list=$1/function_length.list

find base lun conf target tests initiator-tests -name '*.[ch]' 2>/dev/null | sort |
	ctags --quiet=yes -L - -f - --languages=C --langmap=C:.c.h --kinds-C=f --fields=+ne --sort=no \
		-I 'LOOP_ONLY,MUST_CHECK,NORETURN,UNUSED' |
	awk -F '\t' -v list="$list" '
BEGIN {
	LINES_MAX = 70
	MEDIAN_MAX = 12
	while ((getline row < list) > 0)
		if (split(row, f, " ") == 3 && row !~ /^#/)
			excused[f[1] " " f[2]] = f[3]
}
{
	line = end = 0
	for (i = 4; i <= NF; i++) {
		if ($i ~ /^line:/)
			line = substr($i, 6)
		if ($i ~ /^end:/)
			end = substr($i, 5)
	}
	if (!end)
		next
	length_ = end - line + 1
	key = $2 " " $1
	seen[key] = length_
	if (length_ > LINES_MAX && length_ > excused[key] + 0) {
		print $2 ":" line ": " $1 " has " length_ " lines, at most " LINES_MAX
		bad = 1
	}
	folder = $2
	sub("/[^/]*$", "", folder)
	if (folder !~ /^(tests|initiator-tests)/)
		lengths[folder, ++count[folder]] = length_
}
END {
	for (key in excused)
		if (seen[key] < excused[key]) {
			split(key, f, " ")
			print f[1] ":1: " f[2] " is shorter than function_length.list says (" \
				seen[key] + 0 "): shrink the list"
			bad = 1
		}
	for (folder in count) {
		below = 0
		for (i = 1; i <= count[folder]; i++)
			below += lengths[folder, i] <= MEDIAN_MAX
		if (2 * below < count[folder]) {
			print folder ":1: only " below " of " count[folder] " functions have at most " \
				MEDIAN_MAX " lines, expected half"
			bad = 1
		}
	}
	exit bad
}'
