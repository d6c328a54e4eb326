/*
 * Calls that no I/O may make: asking for memory, taking a lock, formatting text, starting a thread.
 * They are counted by standing in front of the C library's functions, so that libraries' calls
 * count, too. The same place remembers who asked for which memory, to give the lines a name.
 *
 * Any thread. Nothing here may call what it counts. Read next: report.c.
 */
#include "tests/lines/lines.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define CALLERS_MAX 64u
#define BLOCKS_MAX 65536u

#define CALLER ((uintptr_t)__builtin_return_address(0) - 1)

struct call_counts {
	_Atomic uint64_t count;
	atomic_flag busy; /* Guards the callers. */
	struct lines_caller callers[CALLERS_MAX];
};

static struct call_counts counts[LINES_CALL_COUNT];

/* Inside pthread_create: the memory of a thread is part of its start, which is counted. */
static _Thread_local bool is_starting_thread;

/* The newest, if the memory was asked for again; the oldest are written over. */
static struct lines_block blocks[BLOCKS_MAX];
static atomic_uint block_count;

/* -- Counting -- */

static void take_note(struct call_counts *of, uintptr_t pc, unsigned thread)
{
	for (unsigned i = 0; i < CALLERS_MAX; i++) {
		struct lines_caller *caller = &of->callers[i];

		if (caller->count != 0 && (caller->pc != pc || caller->thread != thread))
			continue;
		caller->pc = pc;
		caller->thread = (uint8_t)thread;
		caller->count++;
		return;
	}
}

static void count_call(enum lines_call kind, uintptr_t pc)
{
	struct call_counts *of = &counts[kind];

	if (!atomic_load_explicit(&lines_counting, memory_order_relaxed))
		return;
	atomic_fetch_add(&of->count, 1);
	while (atomic_flag_test_and_set_explicit(&of->busy, memory_order_acquire))
		continue;
	take_note(of, pc, lines_thread());
	atomic_flag_clear_explicit(&of->busy, memory_order_release);
}

void lines_calls_forget(void)
{
	for (unsigned i = 0; i < LINES_CALL_COUNT; i++) {
		atomic_store(&counts[i].count, 0);
		for (unsigned j = 0; j < CALLERS_MAX; j++)
			counts[i].callers[j].count = 0;
	}
}

uint64_t lines_calls_count(enum lines_call kind)
{
	return atomic_load(&counts[kind].count);
}

const struct lines_caller *lines_calls_next(enum lines_call kind, size_t *at)
{
	if (*at == CALLERS_MAX || counts[kind].callers[*at].count == 0)
		return NULL;
	return &counts[kind].callers[(*at)++];
}

/* -- Memory -- */

/* Exported by glibc for those who stand in front of it. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *block, size_t bytes);
void *__libc_memalign(size_t align, size_t bytes);
void __libc_free(void *block);

static void *note_block(void *block, size_t bytes, uintptr_t pc)
{
	unsigned place = atomic_fetch_add(&block_count, 1) % BLOCKS_MAX;

	if (!is_starting_thread)
		count_call(LINES_CALL_ALLOCATE, pc);
	if (block != NULL) {
		blocks[place] = (struct lines_block){
			.begin = (uintptr_t)block,
			.end = (uintptr_t)block + bytes,
			.pc = pc,
		};
	}
	return block;
}

const struct lines_block *lines_block_of(uintptr_t address)
{
	unsigned last = atomic_load(&block_count);

	for (unsigned i = 1; i <= BLOCKS_MAX && i <= last; i++) {
		const struct lines_block *block = &blocks[(last - i) % BLOCKS_MAX];

		if (address >= block->begin && address < block->end)
			return block;
	}
	return NULL;
}

void *malloc(size_t bytes)
{
	return note_block(__libc_malloc(bytes), bytes, CALLER);
}

void *calloc(size_t count, size_t bytes)
{
	return note_block(__libc_calloc(count, bytes), count * bytes, CALLER);
}

void *realloc(void *block, size_t bytes)
{
	return note_block(__libc_realloc(block, bytes), bytes, CALLER);
}

/* The product's own, which names its caller: the note that calloc made is older and not found. */
void *__real_aligned_calloc(size_t bytes) __attribute__((weak));
void *__wrap_aligned_calloc(size_t bytes);
void *__wrap_aligned_calloc(size_t bytes)
{
	return note_block(__real_aligned_calloc(bytes), bytes, CALLER);
}

void *aligned_alloc(size_t align, size_t bytes)
{
	return note_block(__libc_memalign(align, bytes), bytes, CALLER);
}

int posix_memalign(void **out, size_t align, size_t bytes)
{
	*out = note_block(__libc_memalign(align, bytes), bytes, CALLER);
	return *out != NULL ? 0 : ENOMEM;
}

void free(void *block)
{
	if (block != NULL && !is_starting_thread)
		count_call(LINES_CALL_ALLOCATE, CALLER);
	__libc_free(block);
}

void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	void *block = __real_mmap(at, bytes, protection, flags, fd, offset);

	return note_block(block, block != MAP_FAILED ? bytes : 0, CALLER);
}

/* -- Locks -- */

/* The function of that name behind ours. */
#define REAL(name, ...)                                                          \
	({                                                                       \
		static _Atomic(uintptr_t) real;                                  \
		if (atomic_load(&real) == 0)                                     \
			atomic_store(&real, (uintptr_t)dlsym(RTLD_NEXT, #name)); \
		(int (*)(__VA_ARGS__)) atomic_load(&real);                       \
	})

#define LOCK(name, type)                             \
	int name(type *lock)                         \
	{                                            \
		count_call(LINES_CALL_LOCK, CALLER); \
		return REAL(name, type *)(lock);     \
	}

LOCK(pthread_mutex_lock, pthread_mutex_t)
LOCK(pthread_mutex_trylock, pthread_mutex_t)
LOCK(pthread_rwlock_rdlock, pthread_rwlock_t)
LOCK(pthread_rwlock_wrlock, pthread_rwlock_t)

/* -- Threads -- */

int pthread_create(pthread_t *out, const pthread_attr_t *attributes, void *(*run)(void *),
		   void *arg)
{
	int res;

	count_call(LINES_CALL_THREAD, CALLER);
	is_starting_thread = true;
	res = REAL(pthread_create, pthread_t *, const pthread_attr_t *, void *(*)(void *),
		   void *)(out, attributes, run, arg);
	is_starting_thread = false;
	return res;
}

/* -- Text -- */

int vsnprintf(char *out, size_t room, const char *format, va_list args)
{
	count_call(LINES_CALL_FORMAT, CALLER);
	return REAL(vsnprintf, char *, size_t, const char *, va_list)(out, room, format, args);
}

int snprintf(char *out, size_t room, const char *format, ...)
{
	va_list args;
	int count;

	count_call(LINES_CALL_FORMAT, CALLER);
	va_start(args, format);
	count = REAL(vsnprintf, char *, size_t, const char *, va_list)(out, room, format, args);
	va_end(args);
	return count;
}

/* -- I/O -- */

/* Each READ, WRITE and flush of a program that has LUNs comes by here once. */
void __real_lun_io_submit(void *lun, void *loop, void *io) __attribute__((weak));
void __wrap_lun_io_submit(void *lun, void *loop, void *io);
void __wrap_lun_io_submit(void *lun, void *loop, void *io)
{
	lines_count_io();
	__real_lun_io_submit(lun, loop, io);
}
