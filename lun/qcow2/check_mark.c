/*
 * Marks of clusters, and findings as sentences. Read next: check_l2.c.
 */
#include "lun/qcow2/check_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void PRINTF_LIKE(3, 0)
	write_finding(struct qcow2_check *out, unsigned slot, const char *text, va_list args)
{
	(void)vsnprintf(out->findings[slot], QCOW2_FINDING_BYTES, text, args);
}

/* The last finding makes room, where there is none. */
static void open_slot(struct qcow2_check *out, unsigned slot)
{
	if (out->finding_count < QCOW2_FINDINGS_MAX)
		out->finding_count++;
	if (slot + 1 < out->finding_count)
		memmove(out->findings[slot + 1], out->findings[slot],
			(size_t)(out->finding_count - 1 - slot) * QCOW2_FINDING_BYTES);
}

/* Corruptions stand before leaks; the first `corruptions` slots are theirs. */
static void PRINTF_LIKE(2, 0)
	find_corruption(struct qcow2_check *out, const char *text, va_list args)
{
	uint64_t slot = out->corruptions++;

	if (slot >= QCOW2_FINDINGS_MAX)
		return;
	open_slot(out, (unsigned)slot);
	write_finding(out, (unsigned)slot, text, args);
}

void check_broken(struct check *check, const char *text, ...)
{
	va_list args;

	if (!check->first_pass)
		return;
	check->out->beyond_repair++;
	va_start(args, text);
	find_corruption(check->out, text, args);
	va_end(args);
}

void check_misplaced(struct check *check, const char *text, ...)
{
	va_list args;

	if (!check->first_pass)
		return;
	check->out->misplaced++;
	va_start(args, text);
	find_corruption(check->out, text, args);
	va_end(args);
}

void check_corrupt(struct check *check, const char *text, ...)
{
	va_list args;

	va_start(args, text);
	find_corruption(check->out, text, args);
	va_end(args);
}

void check_leak(struct check *check, const char *text, ...)
{
	struct qcow2_check *out = check->out;
	va_list args;

	out->leaks++;
	if (out->finding_count == QCOW2_FINDINGS_MAX)
		return;
	va_start(args, text);
	write_finding(out, out->finding_count++, text, args);
	va_end(args);
}

static bool is_overlap(uint32_t there, uint32_t mark)
{
	if (there == 0)
		return false;
	return ((there | mark) & MARK_METADATA) != 0 || ((there ^ mark) & MARK_L2) != 0;
}

/* NULL: not of this pass. */
static uint32_t *mark_of(const struct check *check, uint64_t cluster)
{
	/* Below the window the index is huge. */
	uint64_t index = cluster - check->window_first;

	return index < check->window_count ? &check->marks[index] : NULL;
}

static void mark_cluster(struct check *check, uint64_t cluster, uint32_t mark, const char *what)
{
	uint32_t *there = mark_of(check, cluster);

	if (there == NULL)
		return;
	if (is_overlap(*there, mark)) {
		check->out->beyond_repair++;
		check_corrupt(check, "%s at 0x%llx: the cluster is also something else", what,
			      (unsigned long long)cluster << check->geometry.cluster_bits);
	}
	*there = (*there | mark) + ((*there & MARK_COUNT) < MARK_COUNT);
}

bool check_refer(struct check *check, uint64_t offset, uint64_t bytes, uint32_t mark,
		 const char *what)
{
	uint64_t first = offset >> check->geometry.cluster_bits;
	uint64_t last = (offset + bytes - 1) >> check->geometry.cluster_bits;

	if (first >= check->clusters || last > check->clusters) {
		check_broken(check, "%s at 0x%llx lies beyond the end of the file", what,
			     (unsigned long long)offset);
		return false;
	}
	/* Of the last sectors of compressed data the file may lack a part. */
	for (uint64_t cluster = first; cluster <= last && cluster < check->clusters; cluster++)
		mark_cluster(check, cluster, mark, what);
	return true;
}

uint32_t check_count(const struct check *check, uint64_t offset)
{
	const uint32_t *there = mark_of(check, offset >> check->geometry.cluster_bits);

	return there != NULL ? *there & MARK_COUNT : 0;
}
