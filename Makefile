# ringsan: `make help` lists what there is to make.
#
# Every layer is a folder whose sources are found by name, so a new file needs no line here. A build
# variant (plain, san, tsan, fuzz, lines, crash) has a folder of its own below $(B).

B ?= build
V ?= plain
O := $(B)/$(V)

CC_plain := gcc
CC_san := gcc
CC_tsan := gcc
CC_fuzz := clang
CC_lines := clang
CC_crash := gcc
CC := $(CC_$(V))

WARN := -Wall -Wextra -Werror -Wshadow -Wconversion -Wswitch-enum -Wundef -Wvla -Walloca -Wformat=2 \
	-Wmissing-prototypes -Wstrict-prototypes -Wcast-qual -Wwrite-strings
WARN_gcc := -Wcast-align=strict -Wnull-dereference -Wduplicated-cond -Wlogical-op \
	-Wimplicit-fallthrough=5 -Wstack-usage=4096
WARN_clang := -Wthread-safety -Wimplicit-fallthrough

FLAGS_plain := -O2 -D_FORTIFY_SOURCE=3 -fstack-clash-protection -fcf-protection $(WARN_gcc)
FLAGS_san := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FLAGS_tsan := -O1 -fsanitize=thread
FLAGS_fuzz := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all $(WARN_clang)
# tests/lines: instrumented as for tsan, but linked with a runtime of ours, which is not.
FLAGS_lines := -O2 -fPIE -fsanitize=thread -mllvm -tsan-instrument-func-entry-exit=0 $(WARN_clang)
# tests/crash: bugs that can be planted, rare paths counted, and a clock that the simulator sets.
FLAGS_crash := -O2 -DRINGSAN_CRASH $(WARN_gcc)
LINK_plain := -Wl,-z,relro,-z,now
LINK_san := -fsanitize=address,undefined
LINK_tsan := -fsanitize=thread
LINK_fuzz := -fsanitize=fuzzer,address,undefined
LINES_WRAPPED := memcpy memmove memset memcmp bcmp mmap aligned_calloc lun_io_submit
CRASH_WRAPPED := clock_gettime preadv2 pwritev2 ftruncate fallocate log_error \
	malloc calloc aligned_alloc free
LINK_lines := -pie $(LINES_WRAPPED:%=-Wl,--wrap=%)
LINK_crash := $(CRASH_WRAPPED:%=-Wl,--wrap=%)

CFLAGS := -std=gnu11 -g -I. -D_GNU_SOURCE -pthread $(WARN) $(FLAGS_$(V))
LDFLAGS := -pthread $(LINK_$(V))

LIBS := -luring -laio -lcrypto -lisal -lconfuse -ljansson -lz -lzstd -lm

LAYERS := base conf lun target/net target/scsi target/iscsi target/ctl target/bench target/cli target/image
# A part of a layer has a folder of its own below it, and no library of its own.
PARTS_lun := lun/qcow2
FOLDERS := $(foreach l,$(LAYERS),$(l) $(PARTS_$(l))) target
# Programs' main files stand in target/ itself.
layer_srcs = $(foreach f,$(1) $(PARTS_$(1)),$(wildcard $(f)/*.c))
layer_lib = $(O)/lib$(subst /,_,$(1)).a
# Linked in this order: a layer before what it stands on.
LINK_ORDER := target/image target/cli target/bench target/ctl target/iscsi target/scsi target/net lun conf base
ALL_LIBS := $(foreach l,$(LINK_ORDER),$(call layer_lib,$(l)))

.PHONY: all
all: $(O)/ringsand $(O)/ringsan ## the daemon and the tool, below $(B)/$(V)

$(O)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -MT '$(patsubst $(CURDIR)/%,%,$@)' -MT '$(abspath $@)' -c $< -o $@

define layer_rule
$(call layer_lib,$(1)): $(patsubst %.c,$(O)/%.o,$(call layer_srcs,$(1)))
	@mkdir -p $$(@D)
	rm -f $$@ && ar rcs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call layer_rule,$(l))))

LINES_SOURCES := $(filter-out %/planted.c,$(wildcard tests/lines/*.c))
LINES_RUNTIME := $(if $(filter lines,$(V)),$(LINES_SOURCES:%.c=$(O)/%.o))
$(LINES_RUNTIME): CFLAGS += -fno-sanitize=thread
$(O)/tests/lines/planted: $(O)/tests/lines/planted.o $(LINES_RUNTIME)
	$(CC) $(LDFLAGS) $^ -o $@

$(O)/ringsand: $(O)/target/main.o $(LINES_RUNTIME) $(ALL_LIBS)
	$(CC) $(LDFLAGS) $^ $(LIBS) -o $@
$(O)/ringsan: $(O)/target/ringsan.o $(LINES_RUNTIME) $(ALL_LIBS)
	$(CC) $(LDFLAGS) $^ $(LIBS) -o $@

# tests/unit/<layer>_<topic>.c links only its layer and those below, so that layers stay layers.
BELOW_base := base
BELOW_conf := conf base
BELOW_lun := lun base
BELOW_net := target/net base
BELOW_scsi := target/scsi lun base
BELOW_iscsi := target/iscsi target/scsi target/net lun base
BELOW_ctl := target/ctl target/iscsi target/scsi target/net lun conf base
BELOW_cli := target/cli conf base
BELOW_image := target/image target/cli lun conf base
BELOW_bench := target/bench target/iscsi target/scsi target/net lun base
TOPICS := base conf lun net scsi iscsi ctl cli image bench
libs_below = $(foreach l,$(BELOW_$(1)),$(call layer_lib,$(l)))

define topic_rule
$(O)/tests/unit/$(1)_%: $(O)/tests/unit/$(1)_%.o $(call libs_below,$(1))
	$$(CC) $$(LDFLAGS) $$^ $$(LIBS) -lcriterion -o $$@
$(O)/tests/stress/$(1)_%: $(O)/tests/stress/$(1)_%.o $(call libs_below,$(1))
	$$(CC) $$(LDFLAGS) $$^ $$(LIBS) -o $$@
$(O)/tests/fuzz/fuzz_$(1)_%: $(O)/tests/fuzz/fuzz_$(1)_%.o $(call libs_below,$(1))
	$$(CC) $$(LDFLAGS) $$^ $$(LIBS) -o $$@
endef
$(foreach t,$(TOPICS),$(eval $(call topic_rule,$(t))))

# Answers tests/qcow2/images.py, which knows what qemu-img says.
QCOW2_TOOL := $(O)/tests/qcow2/tool
$(QCOW2_TOOL): $(patsubst %.c,$(O)/%.o,$(wildcard tests/qcow2/*.c)) $(call libs_below,lun)
	$(CC) $(LDFLAGS) $^ $(LIBS) -o $@
# The crash simulator: V=crash.
$(O)/tests/crash/crash: $(patsubst %.c,$(O)/%.o,$(wildcard tests/crash/*.c)) $(call libs_below,lun)
	$(CC) $(LDFLAGS) $^ $(LIBS) -o $@

# They spend their time in what they test, and most of it in being compiled.
$(O)/tests/unit/%.o: CFLAGS += $(if $(filter san,$(V)),-O0)

# Programs that act as an initiator: libiscsi and nothing of ours.
$(O)/initiator-tests/%: $(O)/initiator-tests/%.o
	$(CC) $(LDFLAGS) $^ -liscsi -o $@

# Verified load, which knows what each block of an image may hold, is one program.
IMAGE_LOAD := $(O)/initiator-tests/images/load
$(IMAGE_LOAD): $(patsubst %.c,$(O)/%.o,$(wildcard initiator-tests/images/*.c))
	$(CC) $(LDFLAGS) $^ -liscsi -o $@

# Loaded into the conformance suite, which is not ours.
CONFORMANCE_PRELOAD := $(O)/initiator-tests/conformance_preload
$(CONFORMANCE_PRELOAD).o: CFLAGS += -fPIC
$(CONFORMANCE_PRELOAD).so: $(CONFORMANCE_PRELOAD).o
	$(CC) -shared $(LDFLAGS) $^ -o $@

# The limit that `make bench` compares with is one program.
ECHO := $(O)/initiator-tests/bench/echo
$(ECHO): $(patsubst %.c,$(O)/%.o,$(wildcard initiator-tests/bench/*.c))
	$(CC) $(LDFLAGS) $^ -luring -o $@

programs_in = $(patsubst %.c,$(O)/%,$(wildcard $(1)/*.c))
OBJECTS := $(patsubst %.c,$(O)/%.o,$(foreach f,$(FOLDERS),$(wildcard $(f)/*.c)))
MAN_PAGES := $(wildcard $(FOLDERS:%=%/*.[1-8]))

.PHONY: objects unit-programs stress-programs fuzz-programs initiator-programs
objects: $(OBJECTS)
unit-programs: $(call programs_in,tests/unit) $(QCOW2_TOOL)
stress-programs: $(call programs_in,tests/stress)
fuzz-programs: $(call programs_in,tests/fuzz)
initiator-programs: $(filter-out $(CONFORMANCE_PRELOAD),$(call programs_in,initiator-tests)) \
	$(CONFORMANCE_PRELOAD).so $(ECHO) $(IMAGE_LOAD)

.PHONY: packages-build packages-check packages-bench run bench
packages-build packages-check packages-bench:
	@tests/packages.sh $(@:packages-%=%)
run: packages-build ## install what is missing, build, serve a thin LUN on 127.0.0.1:3260
	@+conf/run.sh
bench: packages-bench ## measure against tgt and the limits, judge: eleven minutes, see initiator-tests/bench
	@tests/packages.sh bench-optional || echo 'bench: goes on without them'
	@+$(MAKE) -s V=plain all $(B)/plain/initiator-tests/bench/echo
	@B=$(B) initiator-tests/bench/suite.py
	@[ -n "$$BENCH_ONLY" ] || RINGSAN_VARIANT=plain B=$(B) ABUSE_CONNECTIONS=5000 ABUSE_SECONDS=10 \
		initiator-tests/abuse.sh

.PHONY: scale
scale: packages-check ## 10,000 LUNs and 1,000 hosts in one daemon: two minutes, see initiator-tests/README.md
	@B=$(B) initiator-tests/scale.sh long

.PHONY: soak
soak: packages-check ## qcow2 at length: KILLS= (500) on each engine, 20 clones; hours: see initiator-tests/images
	@for engine in auto aio; do RINGSAN_ENGINE=$$engine KILLS=$(or $(KILLS),500) B=$(B) SECONDS_MAX=7200 tests/run \
		initiator-tests/kills.sh || exit; done
	@CLONES_MIB=64 CLONES_OPERATIONS=1000000 B=$(B) SECONDS_MAX=7200 tests/run initiator-tests/clones.sh

SUITES := style build hosts-short lint unit crash tsan fuzz initiators
.PHONY: check $(SUITES:%=check-%) fuzz
check: packages-check ## all tests, under ten minutes on two cores
	@+tests/run $(SUITES)
$(SUITES:%=check-%): packages-check ## check-unit, check-initiators ...: one suite of check
	@+tests/run $(@:check-%=%)
CRASH_OPTIONS := $(SEED:%=--seed=%) $(STATES:%=--states=%) $(WORKLOADS:%=--workloads=%) $(ORACLES:%=--oracles=%) \
	$(SUBJECT:%=--subject=%) $(VARIANT:%=--variant=%) $(JOBS:%=--jobs=%) $(PLANT:%=--plant=%) $(REPLAY:%=--replay=%) $(MODES)
.PHONY: crash
crash: packages-check ## power cuts, simulated: SEED= STATES= ..., see tests/crash/README.md
	@+$(MAKE) -s V=crash $(B)/crash/tests/crash/crash
	@$(B)/crash/tests/crash/crash $(CRASH_OPTIONS)
.PHONY: check-hosts
check-hosts: packages-check ## Linux guests with open-iscsi under QEMU, see initiator-tests/guest
	@+tests/run hosts
fuzz: packages-check ## every fuzzer for FUZZ_SECONDS (600), new inputs kept in the corpus
	@+FUZZ_SECONDS=$${FUZZ_SECONDS:-600} FUZZ_KEEP=1 tests/run fuzz

SOURCES := $(wildcard $(foreach f,$(FOLDERS) initiator-tests $(wildcard tests/*),$(f)/*.[ch]))
.PHONY: tidy format man clean install help
TIDY_SOURCES := $(wildcard $(FOLDERS:%=%/*.c))
tidy: packages-check ## clang-tidy over the product's sources (slow)
	printf '%s\n' $(TIDY_SOURCES) | xargs -P 2 -I {} clang-tidy --quiet {} -- -std=gnu11 -I. -D_GNU_SOURCE
format: ## clang-format every source in place
	clang-format -i $(SOURCES)
man: ## check the manual pages
	mandoc -T lint -W warning $(MAN_PAGES)
clean: ## remove $(B)
	rm -rf $(B)

PREFIX ?= /usr/local
DOC := $(DESTDIR)$(PREFIX)/share/doc/ringsan
install: all ## PREFIX (/usr/local) and DESTDIR are honoured
	install -D -m 755 $(O)/ringsand $(DESTDIR)$(PREFIX)/sbin/ringsand
	install -D -m 755 $(O)/ringsan $(DESTDIR)$(PREFIX)/bin/ringsan
	for page in $(MAN_PAGES); do install -D -m 644 $$page \
		$(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/} || exit 1; done
	for unit in conf/*.service; do install -D -m 644 $$unit \
		$(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/} || exit 1; done
	install -D -m 644 -t $(DOC) README.md LICENSE
	install -D -m 644 -t $(DOC)/examples conf/examples/*

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16
	@echo 'V=plain|san|tsan|fuzz|lines|crash chooses the variant, B=folder where it is built (build).'
	@echo 'tests/run -h shows how to run one program or one initiator test.'

.SECONDARY:
-include $(shell find $(O) -name '*.d' 2>/dev/null)
