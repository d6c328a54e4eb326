/*
 * Whether a file is asked to transfer without waiting (LOOP_NOWAIT) before a worker is taken. One
 * that refuses again and again is asked only now and then, because asking costs a turn.
 *
 * A record for each file and direction; it belongs to the loop of those who ask.
 */
#ifndef LUN_NOWAIT_H
#define LUN_NOWAIT_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

/* So many refusals in a row make it likely that the next one is refused, too; from then on one of
 * so many is tried. */
#define NOWAIT_IN_VAIN_MAX 8u
#define NOWAIT_TRY_ONE_OF 16u

struct nowait {
	bool is_unknown;   /* The file cannot tell whether it would wait. */
	uint8_t in_vain;   /* Refusals in a row. */
	uint8_t not_tried; /* Since the last try. */
};

static inline bool nowait_is_worth_a_try(struct nowait *nowait)
{
	if (nowait->is_unknown)
		return false;
	if (nowait->in_vain < NOWAIT_IN_VAIN_MAX)
		return true;
	nowait->not_tried = (uint8_t)((nowait->not_tried + 1u) % NOWAIT_TRY_ONE_OF);
	return nowait->not_tried == 0;
}

/* Remember how a try went. True: refused, it needs a worker. */
static inline bool nowait_note(struct nowait *nowait, int res)
{
	if (res == -EOPNOTSUPP)
		nowait->is_unknown = true;
	if (res != -EOPNOTSUPP && res != -EAGAIN) {
		nowait->in_vain = 0;
		return false;
	}
	if (nowait->in_vain < NOWAIT_IN_VAIN_MAX)
		nowait->in_vain++;
	return true;
}

#endif
