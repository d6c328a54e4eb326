/*
 * From a file or a text to a checked configuration: the order of the steps, and who frees what.
 * Control thread.
 *
 * Read next: syntax.c, build.c, check.c, secrets.c, in this order.
 */
#include "conf/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/build.h"
#include "conf/memory.h"

static struct conf *conf_create(const char *file)
{
	struct conf_memory *memory = conf_memory_create();
	struct conf *conf = NULL;

	if (memory == NULL)
		return NULL;
	conf = conf_memory_take(memory, 1, sizeof(*conf));
	if (conf == NULL) {
		conf_memory_free(memory);
		return NULL;
	}
	conf->memory = memory;
	conf->file = conf_memory_copy(memory, file, strlen(file));
	return conf;
}

void conf_free(struct conf *conf)
{
	if (conf != NULL)
		conf_memory_free(conf->memory);
}

/* Where the secrets come from: their file, a text, or nowhere. */
static void take_users(struct conf *conf, const struct conf_text *text, bool from_file,
		       struct conf_errors *errors)
{
	const char *name = from_file ? conf->secrets_file : "secrets";
	size_t length = text->secrets_length;
	char *secrets;

	if (from_file) {
		secrets = conf_secrets_read(conf, &length, errors);
	} else {
		secrets = conf_memory_take_secret(conf->memory, length + 1);
		if (secrets != NULL)
			memcpy(secrets, text->secrets, length);
	}
	if (secrets == NULL)
		return;
	conf_secrets_parse(conf, secrets, length, name, errors);
	conf_check_users(conf, name, errors);
}

static int parse(const struct conf_text *text, bool with_files, struct conf **out,
		 struct conf_errors *errors)
{
	size_t errors_before = errors->count + errors->dropped;
	struct conf_syntax *syntax = NULL;
	struct conf *conf = conf_create(text->name);
	int result = -ENOMEM;

	*out = NULL;
	if (conf == NULL)
		return -ENOMEM;
	result = conf_syntax_parse(text, errors, &syntax);
	if (syntax == NULL)
		goto out;
	conf_build(conf, syntax, errors);
	/* What is missing cannot be told from half a file. */
	if (result == 0)
		conf_check(conf, errors);
	conf_errors_sort(errors);
	if (conf->secrets_file != NULL && result == 0 && (with_files || text->secrets != NULL))
		take_users(conf, text, with_files, errors);
	result = errors->count + errors->dropped > errors_before ? -EINVAL : 0;
	if (conf_memory_failed(conf->memory))
		result = -ENOMEM;
out:
	conf_syntax_free(syntax);
	if (result != 0) {
		conf_free(conf);
	} else {
		*out = conf;
	}
	return result;
}

/* The whole file, malloc'ed; NULL with errno set. */
static char *read_file(const char *path, size_t *length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *text = NULL;
	ssize_t n = -1;

	if (fd < 0)
		return NULL;
	text = malloc(CONF_FILE_BYTES_MAX);
	*length = 0;
	while (text != NULL && *length < CONF_FILE_BYTES_MAX) {
		n = read(fd, text + *length, CONF_FILE_BYTES_MAX - *length);
		if (n == 0 || (n < 0 && errno != EINTR))
			break;
		*length += n > 0 ? (size_t)n : 0;
	}
	if (n != 0) {
		errno = n < 0 ? errno : EFBIG;
		free(text);
		text = NULL;
	}
	close(fd);
	return text;
}

int conf_load(const char *path, struct conf **out, struct conf_errors *errors)
{
	struct conf_text text = {.name = path};
	char *content = read_file(path, &text.length);
	int result;

	*out = NULL;
	if (content == NULL) {
		conf_errors_add(errors, (struct conf_place){.file = path},
				"cannot be read: %s; name the file with -c",
				strerrordesc_np(errno));
		return -EINVAL;
	}
	text.text = content;
	result = parse(&text, true, out, errors);
	free(content);
	return result;
}

int conf_parse_text(const struct conf_text *text, struct conf **out, struct conf_errors *errors)
{
	return parse(text, false, out, errors);
}
