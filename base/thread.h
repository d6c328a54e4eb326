/*
 * Starts threads that take no signals: those belong to the control thread. Private to base/.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include "base/attr.h"

#include <pthread.h>

/* pthread_create with every signal blocked in the new thread. Negative errno. Any thread. */
int MUST_CHECK thread_start(pthread_t *out, void *(*run)(void *), void *arg);

#endif
