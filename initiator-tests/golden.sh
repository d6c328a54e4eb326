#!/usr/bin/env bash
# Every page and list that a LUN answers with, byte by byte at every allocation length, for disks of
# 512n, 512e and 4Kn blocks, read-only (so not thin), without a write cache and behind two portal groups
# (ALUA); LUN numbers in both forms;
# sizes around the last block that 32 bits can name.
# One engine is enough: nothing here depends on which.
. "$(dirname "$0")/lib.sh"

# identity N: a configured one, so that the tables can name it.
identity() {
	printf 'naa.652534e%025d' "$1"
}

# disk NUMBER OPTIONS...
disk() {
	echo "lun $1 { image = \"$dir/$1.img\" identity = \"$(identity "$1")\" serial = \"SERIAL-$1\" ${*:2} }"
}

truncate -s 64M "$dir/3.img"
port[$server]=$(free_port)
configure "pool golden { path = \"$dir\" warn = 0% }
portal \"127.0.0.1:$(free_port)\" { tag = 2 }" <<C
target "$iqn" {
	portal-groups = { 1 }
	$(disk 0 size = 64M allocation-unit = 64K)
	$(disk 1 size = 64M allocation-unit = 64K physical-block-size = 512)
	$(disk 2 size = 64M allocation-unit = 64K block-size = 4096)
	$(disk 3 allocation-unit = 64K read-only = yes)
	$(disk 4 size = 64M allocation-unit = 64K write-cache = off)
	$(disk 5 size = 64M allocation-unit = 64K write-cache-by-hosts = yes)
	lun 255 { type = null size = 1G }
	lun 256 { type = null size = 1G }
	lun 16383 { type = null size = 1G }
}
target "$iqn.sizes" {
	portal-groups = { 1 }
	lun 0 { type = null size = 1M }
	lun 1 { type = null size = 2199023255040 }
	lun 2 { type = null size = 2T }
	lun 3 { type = null size = 2199023256064 }
	lun 4 { type = null size = 17592186040320 block-size = 4096 }
	lun 5 { type = null size = 16T block-size = 4096 }
}
target "$iqn.paths" {
	preferred-groups = { 1 } non-optimized-groups = { 2 }
	states-by-hosts = yes transition-time = 5s
	$(disk 6 size = 64M allocation-unit = 64K)
}
target "$iqn.without-lun-0" {
	portal-groups = { 1 }
	lun 5 { type = null size = 1G }
	lun 300 { type = null size = 1G }
}
C
start_or_end

limit=240 limited python3 initiator-tests/golden.py "$(url 0)" "$(url 5 "$iqn.without-lun-0")" "$(url 0 "$iqn.sizes")" \
	"$(url 6 "$iqn.paths")" || fail 'byte by byte' 'see above'

stop_ringsand
cases_end
