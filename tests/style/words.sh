#!/usr/bin/env bash
# Words that may not stand in the tree: open ends (open points are issues), dead code, functions
# without a bound, structs behind a typedef, and paths of somebody's machine.
set -u
cd "${1:-$(dirname "$0")/../..}" || exit 2
bad=0

# banned REGEX REASON FOLDER...: in C files only.
banned() {
	local regex=$1 reason=$2 hits
	shift 2
	hits=$(grep -rnE --include='*.[ch]' -- "$regex" "$@" 2>/dev/null) || return 0
	printf '%s\n' "$hits" | sed -E "s/^([^:]*:[0-9]+):.*/\\1: $reason/"
	bad=1
}

product='base lun conf target'
all="$product tests initiator-tests"
# shellcheck disable=SC2086 # Lists of folders.
{
	banned '\b(TODO|FIXME|XXX)\b' 'an open end; open points are issues' $all
	banned '^[[:space:]]*#[[:space:]]*if[[:space:]]+0\b' 'dead code' $all
	banned '^[[:space:]]*//' 'a comment of this form is for code that is switched off; use \/* *\/' $all
	banned '\b(strcpy|strcat|sprintf|vsprintf|gets|alloca|strtok|atoi|atol|system|popen)[[:space:]]*\(' \
		'a function without a bound or without an error' $product
	banned '\btypedef[[:space:]]+(struct|union|enum)\b' 'write struct thing, not a typedef' $all
	banned '/tmp/' 'a path of a machine' $product
	banned '/(work|root|home|farm)/' 'a path of a machine' $all
	# Not in C files only: documents, scripts, configuration.
	hits=$(grep -rnIE --exclude-dir=corpus -- '/(work|home/[a-z]+|root)/|/tmp/b-' $all Makefile \
		README.md .ci 2>/dev/null | grep -v '^tests/style/words.sh:')
}
if [ -n "$hits" ]; then
	printf '%s\n' "$hits" | sed -E 's/^([^:]*:[0-9]+):.*/\1: a path of a machine/'
	bad=1
fi
exit "$bad"
