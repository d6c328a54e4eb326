/*
 * The memory of one configuration: a list of blocks, one per allocation. Not fast and not meant to
 * be: a configuration is read once. Control thread.
 *
 * Read next: build.c, which takes most of it; secrets.c, which takes the secret block.
 */
#include "conf/memory.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct block {
	struct block *next;
	_Alignas(max_align_t) unsigned char bytes[];
};

struct conf_memory {
	struct block *blocks;
	void *secret;
	size_t secret_bytes;
	bool failed;
};

struct conf_memory *conf_memory_create(void)
{
	return calloc(1, sizeof(struct conf_memory));
}

void conf_memory_free(struct conf_memory *memory)
{
	if (memory == NULL)
		return;
	if (memory->secret != NULL) {
		explicit_bzero(memory->secret, memory->secret_bytes);
		munmap(memory->secret, memory->secret_bytes);
	}
	while (memory->blocks != NULL) {
		struct block *next = memory->blocks->next;

		free(memory->blocks);
		memory->blocks = next;
	}
	free(memory);
}

void *conf_memory_take(struct conf_memory *memory, size_t count, size_t item_bytes)
{
	struct block *block = NULL;
	size_t bytes;

	if (count == 0)
		return NULL;
	if (!__builtin_mul_overflow(count, item_bytes, &bytes) &&
	    !__builtin_add_overflow(bytes, sizeof(*block), &bytes))
		block = calloc(1, bytes);
	if (block == NULL) {
		memory->failed = true;
		return NULL;
	}
	block->next = memory->blocks;
	memory->blocks = block;
	return block->bytes;
}

char *conf_memory_copy(struct conf_memory *memory, const char *text, size_t length)
{
	char *copy = conf_memory_take(memory, length + 1, 1);

	if (copy != NULL)
		memcpy(copy, text, length);
	return copy;
}

void *conf_memory_take_secret(struct conf_memory *memory, size_t bytes)
{
	void *secret;

	assert(memory->secret == NULL);
	secret = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (secret == MAP_FAILED) {
		memory->failed = true;
		return NULL;
	}
	/* Both are worth having and neither is worth refusing the start: a container may forbid the
	 * lock, and the memory is overwritten in any case. */
	(void)madvise(secret, bytes, MADV_DONTDUMP);
	(void)mlock(secret, bytes);
	memory->secret = secret;
	memory->secret_bytes = bytes;
	return secret;
}

bool conf_memory_failed(const struct conf_memory *memory)
{
	return memory->failed;
}
