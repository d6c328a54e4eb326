#!/usr/bin/env bash
# Mode parameters: what one host changes, all hosts get and the others are told of; what is saved is
# there after a restart and after kill -9, under any number; what is not saved ends with the daemon and
# with a reset; and nothing the configuration forbids.
# One engine is enough: nothing here depends on which.
. "$(dirname "$0")/lib.sh"

# luns NUMBER: the disk that hosts may do everything with is NUMBER.
luns() {
	configure <<C
target "$iqn" {
	lun $1 { image = "$dir/a.img" size = 64M write-cache-by-hosts = yes }
	lun 1 { image = "$dir/b.img" size = 64M write-cache = off }
	lun 2 { image = "$dir/c.img" size = 64M }
}
C
}

modes() {
	limited python3 initiator-tests/modes.py "$@" || fail "modes.py $1" 'see above'
}

luns 0
start_or_end
modes sharing "$(url 0)"
modes forbidden "$(url 1)" "$(url 2)"
modes save "$(url 0)"
case_equal 'one file in the state-dir, for its owner only' '600 1' \
	"$(stat -c %a "$dir/a/state"/mode-* | head -1) $(find "$dir/a/state" -name 'mode-*' | wc -l)"
restart_ringsand
modes saved "$(url 0)"

kill -KILL "${daemon[a]}"
wait "${daemon[a]}" 2>/dev/null
start_or_end
modes saved "$(url 0)"

stop_ringsand
luns 7
start_or_end
modes saved "$(url 7)"
modes revert "$(url 7)"
restart_ringsand
modes reverted "$(url 7)"

# Of no use any more, and harmless: a file that is damaged is as none, and the log says so.
modes save "$(url 7)"
stop_ringsand
file=$(find "$dir/a/state" -name 'mode-*')
head -c 60 "$file" >"$file.cut" && mv "$file.cut" "$file"
start_or_end
modes reverted "$(url 7)"
case_match 'a damaged file is named in the log' "mode pages cannot be read.*$file" "$(<"$(log_file)")"

# Where nothing can be written, nothing changes.
mv "$dir/a/state" "$dir/a/moved"
modes unsaved "$(url 7)"
mv "$dir/a/moved" "$dir/a/state"

stop_ringsand
cases_end
