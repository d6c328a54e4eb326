/*
 * Random commands of four nexuses, two of one host on two ports, against the model: after each
 * command state, status, unit attentions, victims and what everybody may do are the same.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_pr_model.h"
#include "tests/unit/scsi_pr_testing.h"

#define COMMANDS 300000u

static uint64_t random_state;

static unsigned some(unsigned below)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(random_state >> 33) % below;
}

static const struct {
	const char *name;
	uint16_t port;
} places[MODEL_NEXUSES] = {
	{PORT_NAME("a"), 1}, {PORT_NAME("b"), 1}, {PORT_NAME("b"), 2}, {PORT_NAME("c"), 2}};

static struct pr_nexus nexuses[MODEL_NEXUSES];

/* Keys that mostly fit: the own one, somebody's, none, or one that nobody has. */
static uint64_t some_key(const struct model *model, int from)
{
	switch (some(8)) {
	case 0:
		return 0;
	case 1:
		return 1 + some(3);
	case 2:
	case 3:
		return model->key[some(MODEL_NEXUSES)];
	default:
		return model->key[from];
	}
}

static struct model_op some_op(const struct model *model)
{
	struct model_op op = {
		.from = (int)some(MODEL_NEXUSES),
		.action = (int)some(8),
		.to = (int)some(MODEL_NEXUSES),
		.type = some(4) == 0 ? (int)some(10) : 5 + (int)some(4),
		.unregister = some(2) != 0,
	};

	/* The model knows initiators by number only. */
	if (op.to != op.from && strcmp(places[op.to].name, places[op.from].name) == 0)
		op.to = 0;
	if (model->type != 0 && some(2) == 0)
		op.type = model->type;
	op.key = some_key(model, op.from);
	op.action_key = op.action == 0 || op.action == 6 ? some(4) : some_key(model, some(4) % 4);
	return op;
}

static enum pr_result send(struct pr_world *world, const struct model_op *op)
{
	struct pr_wire wire;

	wire_init(&wire, (unsigned)op->action, (unsigned)op->type, op->key, op->action_key);
	if (op->action == PR_REGISTER_AND_MOVE)
		wire_move(&wire, places[op->to].name, places[op->to].port, op->unregister);
	return world_send_from(world, &nexuses[op->from], &wire);
}

static void check_effect(const struct pr_world *world, const struct pr_state *before,
			 const struct model_answer *answer)
{
	for (uint32_t i = 0; i < before->count; i++) {
		static const uint8_t marks[] = {[3] = PR_LOST_RESERVATION,
						[4] = PR_SAW_RELEASE,
						[5] = PR_LOST_REGISTRATION};
		int who = 0;

		while (!pr_nexus_is(&before->registrants[i].nexus, &nexuses[who]))
			who++;
		cr_assert_eq(world->effect.marks[i],
			     marks[answer->attention[who]] |
				     (answer->aborted[who] ? PR_ABORTED : 0));
	}
}

static void check_state(const struct pr_world *world, const struct model *model)
{
	const struct pr_state *state = &world->state;
	unsigned count = 0;

	cr_assert_eq(state->generation, model->generation);
	cr_assert_eq((int)state->type, model->type);
	for (int i = 0; i < MODEL_NEXUSES; i++) {
		uint32_t at = pr_find(state, &nexuses[i]);
		enum scsi_guard guard = pr_guard(state, at);

		count += at != PR_NOBODY;
		cr_assert_eq(at == PR_NOBODY ? 0 : state->registrants[at].key, model->key[i]);
		cr_assert_eq(pr_is_holder(state, at), model_holds(model, i));
		cr_assert_eq(guard == SCSI_GUARD_NONE, model_allows(model, i, true));
		cr_assert_eq(guard != SCSI_GUARD_EXCLUSIVE_ACCESS, model_allows(model, i, false));
	}
	cr_assert_eq(state->count, count);
}

static void step(struct pr_world *world, struct model *model)
{
	static const char letters[PR_RESULT_COUNT] = {
		[PR_GOOD] = 'G',     [PR_CONFLICT] = 'C',      [PR_BAD_ACTION] = 'F',
		[PR_BAD_TYPE] = 'T', [PR_BAD_PARAMETER] = 'P', [PR_BAD_RELEASE] = 'R',
	};
	struct model_op op = some_op(model);
	struct model_answer answer;
	struct pr_registrant kept[MODEL_NEXUSES];
	struct pr_state before = world->state;
	enum pr_result result;

	memcpy(kept, before.registrants, sizeof(kept));
	before.registrants = kept;
	model_apply(model, &op, &answer);
	result = send(world, &op);
	cr_assert_eq(letters[result], answer.result, "action %d from %d, type %d: %c, not %c",
		     op.action, op.from, op.type, letters[result], answer.result);
	if (result == PR_GOOD)
		check_effect(world, &before, &answer);
	check_state(world, model);
}

Test(pr_model, random_commands)
{
	const char *seed = getenv("SEED");
	struct pr_world world;
	struct model model = {0};

	random_state = seed != NULL ? strtoull(seed, NULL, 0) : 20261123;
	cr_log_info("SEED=%llu", (unsigned long long)random_state);
	world_init(&world, MODEL_NEXUSES);
	for (unsigned i = 0; i < MODEL_NEXUSES; i++)
		pr_nexus_set(&nexuses[i], places[i].name, strlen(places[i].name), places[i].port);
	for (unsigned i = 0; i < COMMANDS; i++)
		step(&world, &model);
	world_clear(&world);
}
