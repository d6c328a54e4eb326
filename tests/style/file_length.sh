#!/usr/bin/env bash
# A file is one idea: at most 600 lines of C, and a README of at most 60 lines in every folder.
set -u
cd "${1:-$(dirname "$0")/../..}" || exit 2
LINES_MAX=600
README_LINES_MAX=60
bad=0

while read -r lines file; do
	if [ "$lines" -gt "$LINES_MAX" ]; then
		echo "$file:$LINES_MAX: has $lines lines, at most $LINES_MAX"
		bad=1
	fi
done < <(find base lun conf target tests initiator-tests -name '*.[ch]' -exec wc -l {} \; 2>/dev/null)

# Folders that hold sources or scripts. tests/README.md speaks for those below it.
while read -r folder; do
	case $folder in
	tests/*) continue ;;
	esac
	readme=$folder/README.md
	if [ ! -f "$readme" ]; then
		echo "$folder:1: has no README.md"
		bad=1
	elif [ "$(wc -l <"$readme")" -gt "$README_LINES_MAX" ]; then
		echo "$readme:$README_LINES_MAX: has $(wc -l <"$readme") lines, at most $README_LINES_MAX"
		bad=1
	fi
done < <(find base lun conf target tests initiator-tests -type f \
	\( -name '*.[ch]' -o -name '*.sh' \) -printf '%h\n' 2>/dev/null | sort -u)

exit "$bad"
