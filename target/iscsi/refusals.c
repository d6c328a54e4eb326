/*
 * How long a refused login waits; see refusals.h.
 *
 * Runs on the control loop. Read next: login_conn.c.
 */
#include "target/iscsi/refusals.h"

#include "base/clock.h"
#include "target/net/address.h"

static struct refusal_source *find(struct refusals *refusals, const struct sockaddr_storage *peer)
{
	for (uint32_t i = 0; i < refusals->used; i++) {
		if (address_same_source(&refusals->sources[i].address, peer))
			return &refusals->sources[i];
	}
	return NULL;
}

/* The place of a new source: a free one, or that of the one that was heard of longest ago. */
static struct refusal_source *take_place(struct refusals *refusals)
{
	struct refusal_source *oldest = &refusals->sources[0];

	if (refusals->used < REFUSAL_SOURCES)
		return &refusals->sources[refusals->used++];
	for (uint32_t i = 1; i < REFUSAL_SOURCES; i++) {
		if (refusals->sources[i].due_ns < oldest->due_ns)
			oldest = &refusals->sources[i];
	}
	return oldest;
}

static struct refusal_source *source_of(struct refusals *refusals, const struct refusal *refusal)
{
	struct refusal_source *source = find(refusals, refusal->peer);

	if (!source) {
		source = take_place(refusals);
		*source = (struct refusal_source){.address = *refusal->peer,
						  .due_ns = refusal->now_ns};
	}
	if (source->due_ns + REFUSAL_MEMORY_MS * CLOCK_NS_PER_MS < refusal->now_ns)
		source->count = 0;
	return source;
}

/* RFC 7143 11.13.5: class 2 is the initiator's fault. */
static bool is_initiators(enum pdu_login_status status)
{
	return (unsigned)status >> 8 == (unsigned)PDU_LOGIN_INITIATOR_ERROR >> 8;
}

uint32_t refusals_note(struct refusals *refusals, const struct refusal *refusal, uint32_t *count)
{
	const uint64_t delay_ns = refusal->delay_ms * CLOCK_NS_PER_MS;
	const uint64_t latest_ns = refusal->now_ns + REFUSAL_WAIT_MS_MAX * CLOCK_NS_PER_MS;
	struct refusal_source *source = source_of(refusals, refusal);
	uint64_t due_ns = refusal->now_ns;

	if (is_initiators(refusal->status) && source->due_ns > due_ns)
		due_ns = source->due_ns;
	due_ns += delay_ns;
	if (due_ns > latest_ns)
		due_ns = latest_ns;
	if (due_ns > source->due_ns)
		source->due_ns = due_ns;
	*count = ++source->count;
	return (uint32_t)((due_ns - refusal->now_ns) / CLOCK_NS_PER_MS);
}
