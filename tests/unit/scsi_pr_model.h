/*
 * A second opinion on PERSISTENT RESERVE OUT: a few nexuses by number, one function, written from
 * SPC-4 5.13 without a look at pr_out.c. The sequential specification for random tests.
 */
#ifndef TESTS_UNIT_SCSI_PR_MODEL_H
#define TESTS_UNIT_SCSI_PR_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define MODEL_NEXUSES 4

struct model {
	uint64_t key[MODEL_NEXUSES]; /* 0: not registered. */
	int type;                    /* 0: no reservation. */
	int holder;                  /* Meaningless for types 7 and 8. */
	uint32_t generation;
};

struct model_op {
	int from;
	int action; /* Of SPC-4 6.16.2. */
	uint64_t key;
	uint64_t action_key;
	int type;
	int to; /* REGISTER AND MOVE */
	bool unregister;
};

struct model_answer {
	char result;                      /* As in scsi_pr_out.c: G, C, T, P, R, F. */
	uint8_t attention[MODEL_NEXUSES]; /* ASCQ of 2Ah, 0: none. */
	bool aborted[MODEL_NEXUSES];
};

static inline bool model_everybody(int type)
{
	return type == 7 || type == 8;
}

static inline bool model_shared(int type)
{
	return type >= 5;
}

static inline bool model_valid(int type)
{
	return type == 1 || type == 3 || (type >= 5 && type <= 8);
}

static inline bool model_holds(const struct model *m, int who)
{
	return m->type != 0 && m->key[who] != 0 && (model_everybody(m->type) || m->holder == who);
}

/* May this nexus read (or write)? */
static inline bool model_allows(const struct model *m, int who, bool write)
{
	bool exclusive = m->type == 3 || m->type == 6 || m->type == 8;

	if (m->type == 0 || (!exclusive && !write))
		return true;
	return model_shared(m->type) ? m->key[who] != 0 : m->holder == who;
}

/* The reservation ends with its holder's registration. */
static inline void model_check_holder(struct model *m)
{
	bool any = false;

	for (int i = 0; i < MODEL_NEXUSES; i++)
		any = any || m->key[i] != 0;
	if (m->type != 0 && (model_everybody(m->type) ? !any : m->key[m->holder] == 0))
		m->type = 0;
}

static inline void model_tell(const struct model *m, struct model_answer *a, int but, uint8_t ascq)
{
	for (int i = 0; i < MODEL_NEXUSES; i++) {
		if (i != but && m->key[i] != 0)
			a->attention[i] = ascq;
	}
}

static inline void model_register(struct model *m, const struct model_op *op,
				  struct model_answer *a)
{
	int me = op->from;
	bool ends = model_holds(m, me) && (m->type == 5 || m->type == 6);

	if (op->action == 0 && op->key != m->key[me]) {
		a->result = 'C';
		return;
	}
	if (m->key[me] == 0 && op->action_key == 0)
		return;
	m->key[me] = op->action_key;
	m->generation++;
	if (op->action_key == 0 && ends)
		model_tell(m, a, me, 4);
	model_check_holder(m);
}

static inline void model_release(struct model *m, const struct model_op *op, struct model_answer *a)
{
	if (!model_holds(m, op->from))
		return;
	if (op->type != m->type) {
		a->result = 'R';
		return;
	}
	if (model_shared(m->type))
		model_tell(m, a, op->from, 4);
	m->type = 0;
}

static inline void model_preempt(struct model *m, const struct model_op *op, struct model_answer *a)
{
	struct model was = *m;
	int me = op->from;
	bool all = model_everybody(m->type) && op->action_key == 0;
	bool takes = all || (m->type != 0 && !model_everybody(m->type) &&
			     m->key[m->holder] == op->action_key);
	bool found = false;

	if (op->action_key == 0 && !all) {
		a->result = 'P';
		return;
	}
	if (takes && !model_valid(op->type)) {
		a->result = 'T';
		return;
	}
	for (int i = 0; i < MODEL_NEXUSES; i++) {
		if (was.key[i] == 0 || (!all && was.key[i] != op->action_key))
			continue;
		found = true;
		a->aborted[i] = op->action == 5;
		if (i == me && takes)
			continue;
		m->key[i] = 0;
		a->attention[i] = i == me ? 0 : 5;
	}
	if (!found) {
		a->result = 'C';
		return;
	}
	m->generation++;
	if (!takes) {
		model_check_holder(m);
		return;
	}
	m->type = op->type;
	m->holder = me;
	if (was.type != op->type)
		model_tell(m, a, me, 4);
}

static inline void model_move(struct model *m, const struct model_op *op, struct model_answer *a)
{
	if (m->type == 0)
		a->result = 'F';
	else if (model_everybody(m->type) || m->holder != op->from)
		a->result = 'C';
	else if (op->action_key == 0 || op->to == op->from)
		a->result = 'P';
	if (a->result != 'G')
		return;
	m->key[op->to] = op->action_key;
	m->holder = op->to;
	if (op->unregister)
		m->key[op->from] = 0;
	m->generation++;
}

static inline void model_apply(struct model *m, const struct model_op *op, struct model_answer *a)
{
	memset(a, 0, sizeof(*a));
	a->result = 'G';
	if (op->action == 0 || op->action == 6) {
		model_register(m, op, a);
		return;
	}
	if (m->key[op->from] == 0 || op->key != m->key[op->from]) {
		a->result = 'C';
	} else if (op->action == 1) {
		if (!model_valid(op->type))
			a->result = 'T';
		else if (m->type == 0) {
			m->type = op->type;
			m->holder = op->from;
		} else if (!model_holds(m, op->from) || m->type != op->type)
			a->result = 'C';
	} else if (op->action == 2) {
		model_release(m, op, a);
	} else if (op->action == 3) {
		model_tell(m, a, op->from, 3);
		memset(m->key, 0, sizeof(m->key));
		m->type = 0;
		m->generation++;
	} else if (op->action == 7) {
		model_move(m, op, a);
	} else {
		model_preempt(m, op, a);
	}
}

#endif
