/*
 * What a guest may find: for each sector, the values that a read, or a power cut, may show. It
 * knows requests and answers and their order, nothing of disks.
 *
 * After a cut a sector may have the value of any write to it, acknowledged or not, but for those
 * that are over: v is over when a write w to the sector was submitted after v had been answered,
 * and w was answered well and then made durable: by itself, or by a flush submitted after w's
 * answer and answered well. UNMAP and ZERO are writes of zeroes. A write that failed may have
 * happened, until a later one is durable. One that was abandoned does nothing to what is submitted
 * after that: it counts as answered then, with an error.
 *
 * A read may show what is not over in the same sense without the durability: some write w was
 * answered before the read was submitted.
 *
 * One thread. Read next: model.c, guest.h.
 */
#ifndef TESTS_CRASH_MODEL_H
#define TESTS_CRASH_MODEL_H

#include "base/attr.h"

#include <stdbool.h>
#include <stdint.h>

#define MODEL_SECTORS_MAX 512u
#define MODEL_VALUES_MAX 48u
#define MODEL_WRITES_MAX 1024u

enum model_op {
	MODEL_READ,
	MODEL_WRITE,
	MODEL_DISCARD,
	MODEL_ZERO,
	MODEL_FLUSH,
	MODEL_PULL, /* What is below becomes the image's own: nothing changes. */
	MODEL_OP_COUNT
};

/* A request. Its index in the model's list is the number that its data carry; the first stands for
 * what was there before. */
struct model_request {
	enum model_op op;
	bool durable;
	bool ok;
	uint32_t first, count;        /* Sectors. */
	uint64_t submitted, answered; /* The model's time; 0: not yet. */
	uint64_t abandoned;           /* Before it was answered; 0: it was not. */
};

struct model_sector {
	uint16_t count;
	uint16_t values[MODEL_VALUES_MAX]; /* Numbers of requests. */
	uint64_t initial;                  /* The word that value 0 stands for (pattern.h). */
};

struct model {
	uint32_t sector_count;
	uint32_t request_count;
	uint32_t number_base; /* Data carry their request's index and this. */
	uint64_t time;
	uint64_t tightened; /* How often less became possible: states seen before count anew. */
	struct model_sector sectors[MODEL_SECTORS_MAX];
	struct model_request requests[MODEL_WRITES_MAX];
};

/* All sectors have the word initial[i]. */
void model_init(struct model *model, const uint64_t *initial, uint32_t sectors,
		uint32_t number_base);
/* Answers the number of the request. */
uint32_t model_submit(struct model *model, struct model_request request);
void model_answer(struct model *model, uint32_t number, bool ok);
/* It is answered all the same. */
void model_abandon(struct model *model, uint32_t number);

/* The word that the request writes to a sector. */
uint64_t model_word(const struct model *model, uint32_t number, uint32_t sector);
/* After a cut, now. */
bool MUST_CHECK model_allows(const struct model *model, uint32_t sector, uint64_t word);
/* In the data of a read that is answered now. */
bool MUST_CHECK model_allows_read(const struct model *model, uint32_t number, uint32_t sector,
				  uint64_t word);
/* Print what a sector may have. */
void model_explain(const struct model *model, uint32_t sector);
void model_print_word(uint64_t word);

#endif
