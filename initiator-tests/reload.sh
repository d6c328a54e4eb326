#!/usr/bin/env bash
# The configuration read again while hosts are at work: LUNs that come, grow and go, targets and access
# rules, a disk that is stuck, files that are refused; SIGHUP. reload.py does most of it.
. "$(dirname "$0")/lib.sh"

ringsan=$B/$RINGSAN_VARIANT/ringsan
echo >"$dir/control"
configure "limits { refusal-delay = 0s } pool disks { path = \"$dir\" warn = 0% }" <<C
@TARGETS@
C
cp "$dir/a/ringsan.conf" "$dir/template"
sed -i "s|@TARGETS@|target \"$iqn\" { lun 0 { image = \"$dir/0.img\" size = 16M } }|" "$dir/a/ringsan.conf"
start_or_end

limit=120 limited python3 initiator-tests/reload.py "$ringsan" "$dir" "$(url 0)" ||
	fail 'reload.py' 'see above'

# SIGHUP does the same; the log tells.
mark=$(log_mark)
sed "s|@TARGETS@|target \"$iqn\" { alias = \"again\" lun 0 { image = \"$dir/0.img\" size = 32M } }|" \
	"$dir/template" >"$dir/a/ringsan.conf"
kill -HUP "${daemon[a]}"
for ((tries = 0; tries < 100; tries++)); do
	log_since "$mark" | grep -q 'reload: .* changes' && break
	sleep 0.05
done
case_match 'SIGHUP reads the file again' 'reload: 2 changes' "$(log_since "$mark")"
mark=$(log_mark)
echo 'nonsense' >>"$dir/a/ringsan.conf"
kill -HUP "${daemon[a]}"
for ((tries = 0; tries < 100; tries++)); do
	log_since "$mark" | grep -q 'refused' && break
	sleep 0.05
done
case_match 'and refuses a broken one' 'refused, nothing has changed' "$(log_since "$mark")"
stop_ringsand
cases_end
