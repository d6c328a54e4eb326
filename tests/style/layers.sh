#!/usr/bin/env bash
# Includes run downwards only (DESIGN.md 2): the table below says what a folder may include. Quoted
# includes name a file from the root of the tree, and only target/ringsan.c includes target/bench and
# target/image.
set -u
cd "${1:-$(dirname "$0")/../..}" || exit 2

# shellcheck disable=SC2016 # The dollar signs are awk's.
find base lun conf target tests initiator-tests -name '*.[ch]' 2>/dev/null | sort | xargs -r awk '
BEGIN {
	may["base"] = "base"
	# A part of its layer: only lun, its tests and target/image know of it.
	may["lun"] = may["lun/qcow2"] = "lun lun/qcow2 base"
	may["conf"] = "conf base"
	may["target/net"] = "target/net base"
	may["target/scsi"] = "target/scsi lun base"
	may["target/iscsi"] = "target/iscsi target/scsi target/net lun base"
	may["target/ctl"] = "target/ctl target/iscsi target/scsi target/net lun conf base"
	may["target/bench"] = "target/bench target/iscsi target/scsi target/net lun base"
	may["target/cli"] = "target/cli conf base"
	# Images that nobody serves: what lun/qcow2 knows of closed ones is for it, too.
	may["target/image"] = "target/image target/cli lun lun/qcow2 conf base"
	may["target/main.c"] = "target/ctl target/iscsi target/scsi target/net lun conf base"
	may["target/ringsan.c"] = "target/bench target/cli target/image " may["target/ctl"]
	may["tests/crash"] = "tests/crash " may["lun"]
	may["tests/qcow2"] = "tests/qcow2 " may["lun"]
	may["initiator-tests"] = ""
	for (topic in may)
		below[topic] = may[topic]
	# A test stands beside the layer it tests: tests/unit/lun_range.c.
	split("net scsi iscsi ctl cli image bench", in_target, " ")
	for (i in in_target)
		topics[in_target[i]] = "target/" in_target[i]
	split("base conf lun", at_root, " ")
	for (i in at_root)
		topics[at_root[i]] = at_root[i]
}

function folder_of(path) {
	sub("/[^/]*$", "", path)
	return path
}

# The folders that the file at PATH may include, or "?" where no rule says.
function permitted(path,    folder, topic) {
	if (path in may)
		return may[path]
	folder = folder_of(path)
	if (folder in may)
		return may[folder]
	# Programs there share no code with what they measure or test.
	if (folder ~ /^initiator-tests/)
		return folder
	if (folder !~ /^tests/)
		return "?"
	topic = path
	sub(".*/", "", topic)
	sub("^fuzz_", "", topic)
	sub("[_.].*", "", topic)
	if (topic in topics)
		# Stand-ins for a layer below are shared: a fuzzer may use those of the unit tests.
		return may[topics[topic]] " tests/unit " folder
	return folder
}

FNR == 1 {
	allowed = " " permitted(FILENAME) " "
	if (allowed == " ? ") {
		print FILENAME ":1: no rule for this folder in tests/style/layers.sh"
		bad = 1
	}
}

/^[ \t]*#[ \t]*include[ \t]*"/ {
	named = $0
	sub("^[^\"]*\"", "", named)
	sub("\".*", "", named)
	if (system("test -f \"" named "\"") != 0) {
		print FILENAME ":" FNR ": \"" named "\" is not a path from the root of the tree"
		bad = 1
	} else if (index(allowed, " " folder_of(named) " ") == 0) {
		print FILENAME ":" FNR ": may not include " folder_of(named) ", only:" allowed
		bad = 1
	}
}

END { exit bad }
'
