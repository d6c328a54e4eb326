/*
 * The functions that instrumented code calls at its accesses. clang's -fsanitize=thread makes the
 * calls; this is linked in place of its runtime. Atomics are carried out here, as strictly as can
 * be. Copies and fills by the C library are told by --wrap (the Makefile has the list).
 *
 * Any thread. Read next: calls.c.
 */
#include <string.h>

#include "tests/lines/lines.h"

/* The instruction that calls, not the one after it. */
#define CALLER ((uintptr_t)__builtin_return_address(0) - 1)

void __tsan_init(void);
void __tsan_init(void)
{
}

/* -- Plain accesses -- */

#define PLAIN(name, size, writes)                      \
	void __tsan_##name##size(void *at);            \
	void __tsan_##name##size(void *at)             \
	{                                              \
		lines_touch(at, size, writes, CALLER); \
	}                                              \
	void __tsan_unaligned_##name##size(void *at);  \
	void __tsan_unaligned_##name##size(void *at)   \
	{                                              \
		lines_touch(at, size, writes, CALLER); \
	}

PLAIN(read, 1, false)
PLAIN(read, 2, false)
PLAIN(read, 4, false)
PLAIN(read, 8, false)
PLAIN(read, 16, false)
PLAIN(write, 1, true)
PLAIN(write, 2, true)
PLAIN(write, 4, true)
PLAIN(write, 8, true)
PLAIN(write, 16, true)

/* -- Atomics -- */

#define FETCH(bits, type, verb)                                                            \
	type __tsan_atomic##bits##_fetch_##verb(volatile type *at, type value, int order); \
	type __tsan_atomic##bits##_fetch_##verb(volatile type *at, type value, int order)  \
	{                                                                                  \
		(void)order;                                                               \
		lines_touch(at, sizeof(type), true, CALLER);                               \
		return __atomic_fetch_##verb(at, value, __ATOMIC_SEQ_CST);                 \
	}

/* One that fails takes the line all the same. */
#define EXCHANGES(bits, type)                                                                     \
	type __tsan_atomic##bits##_exchange(volatile type *at, type value, int order);            \
	type __tsan_atomic##bits##_exchange(volatile type *at, type value, int order)             \
	{                                                                                         \
		(void)order;                                                                      \
		lines_touch(at, sizeof(type), true, CALLER);                                      \
		return __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST);                          \
	}                                                                                         \
	type __tsan_atomic##bits##_compare_exchange_val(volatile type *at, type expected,         \
							type value, int order, int order_failed); \
	type __tsan_atomic##bits##_compare_exchange_val(volatile type *at, type expected,         \
							type value, int order, int order_failed)  \
	{                                                                                         \
		(void)order;                                                                      \
		(void)order_failed;                                                               \
		lines_touch(at, sizeof(type), true, CALLER);                                      \
		(void)__atomic_compare_exchange_n(at, &expected, value, false, __ATOMIC_SEQ_CST,  \
						  __ATOMIC_SEQ_CST);                              \
		return expected;                                                                  \
	}

#define ATOMIC(bits, type)                                                          \
	type __tsan_atomic##bits##_load(const volatile type *at, int order);        \
	type __tsan_atomic##bits##_load(const volatile type *at, int order)         \
	{                                                                           \
		(void)order;                                                        \
		lines_touch(at, sizeof(type), false, CALLER);                       \
		return __atomic_load_n(at, __ATOMIC_SEQ_CST);                       \
	}                                                                           \
	void __tsan_atomic##bits##_store(volatile type *at, type value, int order); \
	void __tsan_atomic##bits##_store(volatile type *at, type value, int order)  \
	{                                                                           \
		(void)order;                                                        \
		lines_touch(at, sizeof(type), true, CALLER);                        \
		__atomic_store_n(at, value, __ATOMIC_SEQ_CST);                      \
	}                                                                           \
	EXCHANGES(bits, type)                                                       \
	FETCH(bits, type, add)                                                      \
	FETCH(bits, type, sub)                                                      \
	FETCH(bits, type, and)                                                      \
	FETCH(bits, type, or)                                                       \
	FETCH(bits, type, xor)

ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order)
{
	(void)order;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order)
{
	(void)order;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* -- The C library -- */

void *__real_memcpy(void *to, const void *from, size_t bytes);
void *__wrap_memcpy(void *to, const void *from, size_t bytes);
void *__wrap_memcpy(void *to, const void *from, size_t bytes)
{
	lines_touch(from, bytes, false, CALLER);
	lines_touch(to, bytes, true, CALLER);
	return __real_memcpy(to, from, bytes);
}

void *__real_memmove(void *to, const void *from, size_t bytes);
void *__wrap_memmove(void *to, const void *from, size_t bytes);
void *__wrap_memmove(void *to, const void *from, size_t bytes)
{
	lines_touch(from, bytes, false, CALLER);
	lines_touch(to, bytes, true, CALLER);
	return __real_memmove(to, from, bytes);
}

void *__real_memset(void *to, int byte, size_t bytes);
void *__wrap_memset(void *to, int byte, size_t bytes);
void *__wrap_memset(void *to, int byte, size_t bytes)
{
	lines_touch(to, bytes, true, CALLER);
	return __real_memset(to, byte, bytes);
}

int __real_memcmp(const void *a, const void *b, size_t bytes);
int __wrap_memcmp(const void *a, const void *b, size_t bytes);
int __wrap_memcmp(const void *a, const void *b, size_t bytes)
{
	lines_touch(a, bytes, false, CALLER);
	lines_touch(b, bytes, false, CALLER);
	return __real_memcmp(a, b, bytes);
}

int __real_bcmp(const void *a, const void *b, size_t bytes);
int __wrap_bcmp(const void *a, const void *b, size_t bytes);
int __wrap_bcmp(const void *a, const void *b, size_t bytes)
{
	lines_touch(a, bytes, false, CALLER);
	lines_touch(b, bytes, false, CALLER);
	return __real_bcmp(a, b, bytes);
}
