/*
 * What guests do. Short workloads are all sequences of up to three of some twelve steps, each one
 * after the other and all at once; random ones are long and come back to the same places.
 */
#include "tests/crash/guest.h"

#include <assert.h>

#include "base/attr.h"

/* -- Short -- */

#define SHORT_STEPS_MAX 3u
/* One after the other; all at once. */
#define SHORT_DEPTHS 2u

/* Places are in eighths of a cluster: small, whole, across two clusters. */
struct short_step {
	enum model_op op;
	bool durable;
	uint32_t first, count;
};

static const struct short_step short_steps[] = {
	{MODEL_WRITE, false, 1, 1},   {MODEL_WRITE, true, 2, 1},    {MODEL_WRITE, false, 0, 8},
	{MODEL_WRITE, true, 0, 8},    {MODEL_WRITE, false, 6, 4},   {MODEL_WRITE, true, 6, 4},
	{MODEL_DISCARD, false, 0, 8}, {MODEL_DISCARD, true, 0, 16}, {MODEL_DISCARD, false, 1, 2},
	{MODEL_ZERO, false, 0, 8},    {MODEL_ZERO, true, 4, 8},     {MODEL_FLUSH, false, 0, 0},
};
#define SHORT_STEPS ARRAY_SIZE(short_steps)

uint64_t workload_short_count(void)
{
	uint64_t sequences = 0;
	uint64_t power = 1;

	for (unsigned i = 0; i < SHORT_STEPS_MAX; i++) {
		power *= SHORT_STEPS;
		sequences += power;
	}
	return sequences * SHORT_DEPTHS;
}

static struct step scale(const struct short_step *from, const struct workload_shape *shape)
{
	uint32_t unit = shape->cluster_sectors / 8 ? shape->cluster_sectors / 8 : 1;

	return (struct step){
		.op = from->op,
		.durable = from->durable,
		.first = from->first * unit,
		.count = from->count * unit,
	};
}

void workload_short(struct workload *workload, const struct workload_shape *shape, uint64_t number)
{
	uint64_t power = SHORT_STEPS;

	workload->depth = number % SHORT_DEPTHS ? SHORT_STEPS_MAX : 1;
	number /= SHORT_DEPTHS;
	workload->count = 1;
	while (number >= power) {
		number -= power;
		power *= SHORT_STEPS;
		workload->count++;
	}
	assert(workload->count <= SHORT_STEPS_MAX);
	for (unsigned i = 0; i < workload->count; i++) {
		workload->steps[i] = scale(&short_steps[number % SHORT_STEPS], shape);
		number /= SHORT_STEPS;
	}
}

/* -- Random -- */

/* Churn is long. */
#define CHURN_TIMES 2u

/* Three of four within some clusters at the beginning, so that things meet. */
static uint32_t random_place(struct random *random, const struct workload_shape *shape)
{
	uint32_t hot = 3 * shape->cluster_sectors;

	if (hot > shape->sectors || random_one_in(random, 4))
		hot = shape->sectors;
	return random_below(random, hot);
}

/* Small; a whole cluster; across clusters; several. */
static void random_range(struct random *random, const struct workload_shape *shape,
			 struct step *step)
{
	uint32_t cluster = shape->cluster_sectors;

	step->first = random_place(random, shape);
	switch (random_below(random, 4)) {
	case 0:
		step->count = 1 + random_below(random, 2);
		break;
	case 1:
		step->first -= step->first % cluster;
		step->count = cluster;
		break;
	case 2:
		step->count = 1 + random_below(random, 2 * cluster);
		break;
	default:
		step->first -= step->first % cluster;
		step->count = cluster * (1 + random_below(random, 3));
		break;
	}
	if (step->count > shape->sectors - step->first)
		step->count = shape->sectors - step->first;
}

/* One of `calm` waits for all before it; 0: none does. */
static struct step random_step(struct random *random, const struct workload_shape *shape,
			       uint32_t calm)
{
	static const enum model_op ops[] = {
		MODEL_WRITE, MODEL_WRITE,   MODEL_WRITE,   MODEL_WRITE, MODEL_WRITE, MODEL_WRITE,
		MODEL_READ,  MODEL_DISCARD, MODEL_DISCARD, MODEL_ZERO,  MODEL_FLUSH, MODEL_FLUSH,
	};
	struct step step = {.op = ops[random_below(random, ARRAY_SIZE(ops))]};

	step.alone = calm && random_one_in(random, calm);
	step.abandon = random_one_in(random, 12);
	if (shape->pulls && random_one_in(random, step.op == MODEL_FLUSH ? 2 : 10))
		step.op = MODEL_PULL;
	if (step.op == MODEL_FLUSH)
		return step;
	random_range(random, shape, &step);
	step.durable = step.op != MODEL_READ && random_one_in(random, 5);
	return step;
}

/* Clusters come, go and come back, while writes to them may still be under way. */
static struct step churn_step(struct random *random, const struct workload_shape *shape)
{
	static const enum model_op ops[] = {
		MODEL_WRITE,   MODEL_WRITE,   MODEL_WRITE, MODEL_WRITE,
		MODEL_DISCARD, MODEL_DISCARD, MODEL_FLUSH, MODEL_FLUSH,
	};
	struct step step = {.op = ops[random_below(random, ARRAY_SIZE(ops))]};

	if (step.op == MODEL_FLUSH)
		return step;
	step.count = shape->cluster_sectors;
	step.first = random_below(random, shape->sectors / step.count / 2) * step.count;
	return step;
}

/* Two layers change, with many who read through both. What the upper one lets go of goes from the
 * lower one too, and comes back there with something else, while reads may still be under way. */
static struct step job_step(struct random *random, const struct workload_shape *shape,
			    uint32_t number)
{
	static const enum model_op ops[] = {
		MODEL_READ, MODEL_READ, MODEL_READ,  MODEL_DISCARD, MODEL_PULL, MODEL_PULL,
		MODEL_PULL, MODEL_PULL, MODEL_WRITE, MODEL_PULL,    MODEL_PULL, MODEL_PULL,
	};
	uint32_t clusters = shape->sectors / shape->cluster_sectors;
	uint32_t round = number / ARRAY_SIZE(ops) * 2;
	struct step step = {.op = ops[number % ARRAY_SIZE(ops)], .count = shape->cluster_sectors};

	if (random_one_in(random, 4)) {
		step.op = ops[random_below(random, ARRAY_SIZE(ops))];
		step.first = random_below(random, clusters / 4) * step.count;
	} else {
		/* The last four are about the next one. */
		round += number % ARRAY_SIZE(ops) / (ARRAY_SIZE(ops) - 4);
		step.first = round % clusters * step.count;
	}
	step.durable = step.op == MODEL_PULL && !random_one_in(random, 3);
	return step;
}

static void add(struct workload *workload, struct step step)
{
	assert(workload->count < WORKLOAD_STEPS_MAX);
	workload->steps[workload->count++] = step;
}

static void add_random(struct workload *workload, const struct workload_shape *shape,
		       struct random *random, unsigned steps)
{
	uint32_t calm = random_below(random, 3) * 4;

	for (unsigned i = 0; i < steps; i++)
		add(workload, random_step(random, shape, calm));
}

void workload_random(struct workload *workload, const struct workload_shape *shape,
		     struct random *random, unsigned steps)
{
	workload->depth = 1 + random_below(random, GUEST_DEPTH_MAX);
	workload->count = 0;
	if (!random_one_in(random, shape->jobs ? 2 : 6)) {
		add_random(workload, shape, random, steps);
		return;
	}
	for (unsigned i = 0; i < CHURN_TIMES * steps; i++)
		add(workload, shape->jobs ? job_step(random, shape, i) : churn_step(random, shape));
}

/* Reads as large as a LUN's vector may be are not needed: a few do. */
#define READ_SECTORS 64u

void workload_reopened(struct workload *workload, const struct workload_shape *shape,
		       struct random *random, unsigned steps)
{
	workload->depth = 1 + random_below(random, 3);
	workload->count = 0;
	for (uint32_t first = 0; first < shape->sectors; first += READ_SECTORS) {
		uint32_t left = shape->sectors - first;

		add(workload, (struct step){.op = MODEL_READ,
					    .first = first,
					    .count = left < READ_SECTORS ? left : READ_SECTORS});
	}
	add_random(workload, shape, random, steps);
}
