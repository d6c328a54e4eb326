/*
 * The control file of the fault image. One rule a line, the first that fits an I/O is applied:
 *
 *     delay OP MILLISECONDS [lba FIRST BLOCKS] [count N]
 *     fail OP ERROR [lba FIRST BLOCKS] [count N]
 *     stick OP [lba FIRST BLOCKS] [count N]
 *
 * OP is read, write, flush, unmap, zero, map or all. ERROR is EIO, ENOSPC, EROFS, ENODEV or EBUSY.
 * lba limits the rule to I/O that touches these logical blocks (and so never fits a flush), count
 * to that many I/Os since the file was read. Empty lines, and from # on, are ignored. An empty or
 * missing file is a healthy image. A failed flush is final for the LUN, as a real one is.
 *
 * Pure: no file, no clock. The caller keeps threads apart.
 */
#ifndef LUN_FAULT_RULES_H
#define LUN_FAULT_RULES_H

#include "lun/lun.h"

#define FAULT_RULES_MAX 32u

enum fault_action {
	FAULT_NONE,
	FAULT_DELAY,
	FAULT_FAIL,
	FAULT_STICK,
};

struct fault_rule {
	enum fault_action action;
	uint8_t ops; /* Bit per lun_op. */
	int error;   /* FAIL: negative errno. */
	uint32_t delay_ms;
	bool has_range;
	uint64_t first_block, block_count;
	uint64_t left; /* I/Os it still applies to. */
};

struct fault_rules {
	unsigned count;
	struct fault_rule rules[FAULT_RULES_MAX];
};

/* Parse the text, which is written to. A line that is wrong is left out; the number of the first
 * such line, or 0. */
unsigned fault_rules_parse(char *text, struct fault_rules *out);
/* What applies to the io, counted. Never NULL. */
const struct fault_rule *fault_rules_apply(struct fault_rules *rules, const struct lun_io *io,
					   uint32_t block_bytes);

#endif
