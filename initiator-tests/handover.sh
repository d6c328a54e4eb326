#!/usr/bin/env bash
# Restarts under a supervisor that holds the listening sockets meanwhile (FDSTORE, as systemd does): a host that
# comes while no daemon runs waits and is served by the next one, whether the one before was stopped or killed;
# a portal that the configuration has no longer is closed; and without a supervisor hosts are refused at once.
# One engine is enough for what is the control thread's.
. "$(dirname "$0")/lib.sh"

lun="target \"$iqn\" { lun 0 { image = \"$dir/a.img\" size = 16M } }"
capacity='25 00 00 00 00 00 00 00 00 00'
ask() {
	raw_command "$(url 0)" "$capacity" in=8
}

killed() {
	kill -KILL "${daemon[$server]}"
	wait "${daemon[$server]}" 2>/dev/null
	unset "daemon[$server]"
}

# Until it says so: the socket of the daemon before may listen as well.
start_until_ready() {
	local mark tries
	mark=$(log_mark)
	start_or_end
	for ((tries = 0; tries < 300; tries++)); do
		log_since "$mark" | grep -q 'ringsand ready' && return
		sleep 0.1
	done
}

supervise || fail 'the supervisor' 'it does not start'
configure <<<"$lun"
start_or_end
case_run 'a host is served' ask
for end in stop_ringsand killed; do
	"$end"
	case_run "$end: the socket still listens" is_listening "${port[$server]}"
	ask >"$dir/late" 2>&1 &
	late=$!
	sleep 0.3
	case_run "$end: a host that comes meanwhile waits" kill -0 "$late"
	start_or_end
	wait "$late"
	case_equal "$end: and is served by the next daemon" 0 $?
	case_run "$end: as are those after it" ask
done

# A portal of another port: the next daemon has the old one closed, and gives the new one to the supervisor.
stop_ringsand
before=${port[$server]}
port[$server]=$(free_port)
configure <<<"$lun"
start_until_ready
case_run 'the new portal' ask
for ((tries = 0; tries < 100; tries++)); do
	is_listening "$before" || break
	sleep 0.05
done
case_refused 'the old portal is closed' is_listening "$before"
stop_ringsand
case_run 'and the new one is kept' is_listening "${port[$server]}"

# All addresses at one port, then one of them, which the old socket would be in the way of.
configure <<<"target \"$iqn\" { access { initiators = \"*\" } lun 0 { image = \"$dir/a.img\" size = 16M } }"
sed 's/^portal "127.0.0.1:/portal "0.0.0.0:/' "$dir/$server/ringsan.conf" >"$dir/wide" &&
	cp "$dir/wide" "$dir/$server/ringsan.conf"
start_until_ready
case_run 'all addresses' ask
stop_ringsand
configure <<<"$lun"
start_until_ready
case_run 'one of them again' ask
stop_ringsand

kill "$supervisor_pid"
wait "$supervisor_pid" 2>/dev/null
supervisor_pid='' launch=()
start_or_end
case_run 'without a supervisor' ask
stop_ringsand
case_refused 'nothing listens after the end' is_listening "${port[$server]}"
cases_end
