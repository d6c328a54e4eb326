#!/usr/bin/env bash
# Every C file opens with a comment that says what it is, and no header lacks its guard.
set -u
cd "${1:-$(dirname "$0")/../..}" || exit 2
bad=0

for file in $(find base lun conf target tests initiator-tests -name '*.[ch]' 2>/dev/null | sort); do
	case $(head -n 1 "$file") in
	'/*'*) ;;
	*)
		echo "$file:1: does not open with a comment that says what it is"
		bad=1
		;;
	esac
	[ "${file%.h}" != "$file" ] || continue
	guard=$(printf '%s' "${file%.h}_H" | tr 'a-z/-' 'A-Z__')
	if ! grep -qx "#ifndef $guard" "$file"; then
		echo "$file:1: has no guard $guard"
		bad=1
	fi
done
exit "$bad"
