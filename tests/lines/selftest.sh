#!/usr/bin/env bash
# The count counted: what planted.c plants must be found, and nothing where nothing was planted.
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/cases.sh
: "${B:=build}"
planted=$B/lines/tests/lines/planted
dir=$(mktemp -d "${TMPDIR:-/tmp}/ringsan-lines.XXXXXX") || exit 2
trap 'rm -rf "$dir"' EXIT

# finds PLANT STATUS TEXT [TURNS OPTIONS...]: judge.py ends with the status and says the text.
finds() {
	local output status=0 name="$1${4:+, $4 turns}"
	"$planted" "$1" "$dir/report" "${4:-1000}" || fail "$name" 'the program failed'
	output=$(python3 tests/lines/judge.py "$dir/report" "${@:5}") || status=$?
	case_equal "$name: status" "$2" "$status"
	case_match "$name: what it says" "$3" "$output"
}

finds nothing 0 'the loops: 0\.00000 per I/O'
finds counter 1 'loop[01] writes \+0 at plant_counter planted.c'
finds neighbours 1 'loop1 writes \+8 at plant_neighbours planted.c'
finds flag 1 'loop1 reads \+0 at plant_flag planted.c'
finds copy 1 'loop1 writes \+0 at plant_copy planted.c'
finds heap 1 'byte [0-9]+ of 48 bytes asked for by plant_heap planted.c'
finds allocation 1 'allocate 0\.5000 by loop0 at plant_allocation planted.c'
finds lock 1 'lock 0\.5000 by loop1 at plant_lock planted.c'
finds format 1 'format 0\.5000 by loop0 at plant_format planted.c'
# Helper threads may start within a window.
finds thread 0 'allocate: 0\.00000 per I/O'
finds thread 0 'allocate: 0\.00000 per I/O' 50 --ios=50

# On the slowest disk that is judged at all, in the longest window, one for each I/O is found still.
for plant in counter allocation format; do
	finds "$plant" 1 "at plant_$plant planted.c" 50 --ios=50 --seconds=8
done
# Below that nothing is judged.
finds nothing 2 'too little was measured' 49 --ios=50

sed -i '/^end$/d' "$dir/report"
case_refused 'a report cut short is refused' python3 tests/lines/judge.py "$dir/report"
cases_end
