# ringsan: `make help` lists what there is to make.
#
# Every layer is a folder whose sources are found by name, so a new file needs no line here. A build
# variant (plain, san, tsan, fuzz) has a folder of its own below $(B).

B ?= build
V ?= plain
O := $(B)/$(V)

CC_plain := gcc
CC_san := gcc
CC_tsan := gcc
CC_fuzz := clang
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
LINK_san := -fsanitize=address,undefined
LINK_tsan := -fsanitize=thread
LINK_fuzz := -fsanitize=fuzzer,address,undefined

CFLAGS := -std=gnu11 -g -I. -D_GNU_SOURCE -pthread $(WARN) $(FLAGS_$(V))
LDFLAGS := -pthread $(LINK_$(V))

LIBS := -luring -laio -lcrypto -lisal -lconfuse -ljansson -lm

LAYERS := base conf lun target/net target/scsi target/iscsi target/ctl target/bench
# Programs' main files stand in target/ itself.
layer_srcs = $(wildcard $(1)/*.c)
layer_lib = $(O)/lib$(subst /,_,$(1)).a
# Linked in this order: a layer before what it stands on.
LINK_ORDER := target/bench target/ctl target/iscsi target/scsi target/net lun conf base
ALL_LIBS := $(foreach l,$(LINK_ORDER),$(call layer_lib,$(l)))

.PHONY: all
all: $(O)/ringsand $(O)/ringsan

$(O)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

define layer_rule
$(call layer_lib,$(1)): $(patsubst %.c,$(O)/%.o,$(call layer_srcs,$(1)))
	@mkdir -p $$(@D)
	rm -f $$@ && ar rcs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call layer_rule,$(l))))

$(O)/ringsand: $(O)/target/main.o $(ALL_LIBS)
	$(CC) $(LDFLAGS) $^ $(LIBS) -o $@
$(O)/ringsan: $(O)/target/ringsan.o $(ALL_LIBS)
	$(CC) $(LDFLAGS) $^ $(LIBS) -o $@

# tests/unit/<layer>_<topic>.c links only its layer and those below, so that layers stay layers.
BELOW_base := base
BELOW_conf := conf base
BELOW_lun := lun base
BELOW_net := target/net base
BELOW_scsi := target/scsi lun base
BELOW_iscsi := target/iscsi target/scsi target/net lun base
BELOW_ctl := target/ctl target/iscsi target/scsi target/net lun conf base
BELOW_bench := target/bench target/iscsi target/scsi target/net lun base
TOPICS := base conf lun net scsi iscsi ctl bench
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

.SECONDARY:
-include $(shell find $(O) -name '*.d' 2>/dev/null)
