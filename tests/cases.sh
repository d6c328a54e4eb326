# shellcheck shell=bash
# How a test script reports its cases, one line each on standard output, which tests/run counts:
#     PASS name        FAIL name: reason        SKIP name: reason
# Source it, report cases, end with `cases_end`.

cases_failed=0

pass() {
	printf 'PASS %s\n' "$1"
}

fail() {
	printf 'FAIL %s: %s\n' "$1" "$2"
	cases_failed=$((cases_failed + 1))
}

# Only for what this machine cannot do, never for what ringsan cannot.
skip() {
	printf 'SKIP %s: %s\n' "$1" "$2"
}

# case_equal NAME EXPECTED ACTUAL
case_equal() {
	if [ "$2" = "$3" ]; then
		pass "$1"
	else
		fail "$1" "expected '$2', found '$3'"
	fi
}

# case_match NAME EXTENDED-REGEX TEXT
case_match() {
	# No pipe: grep may end before all is written, which pipefail would take for no match.
	if grep -qE -- "$2" <<<"$3"; then
		pass "$1"
	else
		fail "$1" "nothing matches '$2' in: $(printf '%s' "$3" | tail -n 5 | tr '\n' '|')"
	fi
}

# case_run NAME COMMAND...: passes if the command succeeds; its output is shown if it does not.
case_run() {
	local name=$1 output status=0
	shift
	output=$("$@" 2>&1) || status=$?
	if [ "$status" -eq 0 ]; then
		pass "$name"
	else
		printf '%s\n' "$output" | tail -n 40
		fail "$name" "exit status $status of: $*"
	fi
	return 0
}

# case_refused NAME COMMAND...: passes if the command fails, but not by a signal or a time limit.
case_refused() {
	local name=$1 output status=0
	shift
	output=$("$@" 2>&1) || status=$?
	if [ "$status" -ne 0 ] && [ "$status" -lt 124 ]; then
		pass "$name"
	else
		printf '%s\n' "$output" | tail -n 40
		fail "$name" "exit status $status, expected a refusal, of: $*"
	fi
	return 0
}

cases_end() {
	[ "$cases_failed" -eq 0 ]
	exit
}
