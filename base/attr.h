/*
 * Compiler attributes under short names, and the thread roles that clang checks.
 *
 * A function marked LOOP_ONLY runs on the thread of the loop that it is given (or that owns its
 * object). clang's -Wthread-safety then refuses a call from a function without the mark; gcc sees
 * nothing. A thread's entry point states the role with loop_role_assume().
 */
#ifndef BASE_ATTR_H
#define BASE_ATTR_H

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NORETURN __attribute__((noreturn))
#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define FALLTHROUGH __attribute__((fallthrough))
#define UNUSED __attribute__((unused))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* The object of type TYPE whose member MEMBER is at PTR. */
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#ifdef __clang__
struct __attribute__((capability("role"))) thread_role {
	int unused;
};
extern struct thread_role loop_role;
#define LOOP_ONLY __attribute__((requires_capability(loop_role)))
static inline void __attribute__((assert_capability(loop_role))) loop_role_assume(void)
{
}
#else
#define LOOP_ONLY
static inline void loop_role_assume(void)
{
}
#endif

#endif
