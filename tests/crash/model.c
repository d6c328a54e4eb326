/*
 * The content model. See model.h.
 */
#include "tests/crash/model.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "tests/crash/pattern.h"

void model_init(struct model *model, const uint64_t *initial, uint32_t sectors,
		uint32_t number_base)
{
	assert(sectors <= MODEL_SECTORS_MAX);
	model->sector_count = sectors;
	model->number_base = number_base;
	model->time = 1;
	model->tightened = 0;
	/* What was there before: over as soon as something later is durable. */
	model->requests[0] = (struct model_request){
		.op = MODEL_WRITE, .ok = true, .count = sectors, .answered = 1};
	model->request_count = 1;
	for (uint32_t i = 0; i < sectors; i++) {
		model->sectors[i].count = 1;
		model->sectors[i].values[0] = 0;
		model->sectors[i].initial = initial[i];
	}
}

static bool changes(const struct model_request *request)
{
	return request->op == MODEL_WRITE || request->op == MODEL_DISCARD ||
	       request->op == MODEL_ZERO;
}

uint32_t model_submit(struct model *model, struct model_request request)
{
	uint32_t number = model->request_count++;

	assert(number < MODEL_WRITES_MAX);
	request.submitted = ++model->time;
	request.answered = 0;
	request.abandoned = 0;
	request.ok = false;
	model->requests[number] = request;
	for (uint32_t i = 0; changes(&request) && i < request.count; i++) {
		struct model_sector *sector = &model->sectors[request.first + i];

		assert(sector->count < MODEL_VALUES_MAX);
		sector->values[sector->count++] = (uint16_t)number;
	}
	return number;
}

/* -- What is over -- */

static bool precedes(const struct model_request *v, const struct model_request *w)
{
	uint64_t end = v->abandoned ? v->abandoned : v->answered;

	return end && end < w->submitted;
}

/* Among the sector's values there is one, answered well before `time`, that follows v. */
static bool is_over(const struct model *model, const struct model_sector *sector, uint32_t v,
		    uint64_t time)
{
	for (unsigned i = 0; i < sector->count; i++) {
		const struct model_request *w = &model->requests[sector->values[i]];

		if (w->ok && w->answered < time && precedes(&model->requests[v], w))
			return true;
	}
	return false;
}

static void drop(struct model *model, struct model_sector *sector, unsigned index)
{
	sector->count--;
	memmove(&sector->values[index], &sector->values[index + 1],
		(sector->count - index) * sizeof(sector->values[0]));
	model->tightened++;
}

/* All that was answered before `time` is durable. */
static void settle(struct model *model, struct model_sector *sector, uint64_t time)
{
	for (unsigned i = 0; i < sector->count;) {
		if (is_over(model, sector, sector->values[i], time)) {
			drop(model, sector, i);
		} else {
			i++;
		}
	}
}

/* The one write is. */
static void settle_by(struct model *model, struct model_sector *sector,
		      const struct model_request *w)
{
	for (unsigned i = 0; i < sector->count;) {
		if (precedes(&model->requests[sector->values[i]], w)) {
			drop(model, sector, i);
		} else {
			i++;
		}
	}
}

void model_answer(struct model *model, uint32_t number, bool ok)
{
	struct model_request *request = &model->requests[number];

	assert(!request->answered);
	request->answered = ++model->time;
	request->ok = ok;
	if (!ok)
		return;
	for (uint32_t i = 0; request->op == MODEL_FLUSH && i < model->sector_count; i++) {
		if (model->sectors[i].count > 1)
			settle(model, &model->sectors[i], request->submitted);
	}
	for (uint32_t i = 0; request->durable && changes(request) && i < request->count; i++)
		settle_by(model, &model->sectors[request->first + i], request);
}

void model_abandon(struct model *model, uint32_t number)
{
	model->requests[number].abandoned = ++model->time;
}

/* -- Questions -- */

uint64_t model_word(const struct model *model, uint32_t number, uint32_t sector)
{
	if (number == 0)
		return model->sectors[sector].initial;
	if (model->requests[number].op != MODEL_WRITE)
		return 0;
	return pattern_word(model->number_base + number, sector);
}

bool model_allows(const struct model *model, uint32_t sector, uint64_t word)
{
	const struct model_sector *s = &model->sectors[sector];

	for (unsigned i = s->count; i-- > 0;) {
		if (model_word(model, s->values[i], sector) == word)
			return true;
	}
	return false;
}

/* Over when the read was submitted. All later writes are looked at, also those that the sector's
 * list has dropped since. */
static bool was_over(const struct model *model, const struct model_request *v, uint32_t sector,
		     uint64_t time)
{
	for (uint32_t i = 1; i < model->request_count; i++) {
		const struct model_request *w = &model->requests[i];

		if (changes(w) && w->ok && w->answered < time && sector - w->first < w->count &&
		    precedes(v, w))
			return true;
	}
	return false;
}

bool model_allows_read(const struct model *model, uint32_t number, uint32_t sector, uint64_t word)
{
	uint64_t time = model->requests[number].submitted;

	for (uint32_t i = 0; i < model->request_count; i++) {
		const struct model_request *v = &model->requests[i];

		if (changes(v) && sector - v->first < v->count &&
		    model_word(model, i, sector) == word && !was_over(model, v, sector, time))
			return true;
	}
	return false;
}

void model_print_word(uint64_t word)
{
	if (word == PATTERN_GARBAGE) {
		printf("garbage");
	} else if (!word) {
		printf("zeroes");
	} else {
		printf("#%u of sector %u", (unsigned)pattern_number(word),
		       (unsigned)pattern_sector(word));
	}
}

void model_explain(const struct model *model, uint32_t sector)
{
	const struct model_sector *s = &model->sectors[sector];

	for (unsigned i = 0; i < s->count; i++) {
		printf("%s", i ? ", " : "");
		model_print_word(model_word(model, s->values[i], sector));
	}
}
