/*
 * Any bytes as a configuration. What is accepted must survive conf_dump: parse(dump(parse(x)))
 * equals parse(x). What is refused must be explained. Bytes behind the first zero byte are the
 * secrets file.
 *
 * Corpus: tests/fuzz/corpus/config; dictionary: tests/fuzz/fuzz_conf_config.dict.
 */
#include "conf/parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct conf_errors errors;

static int parse(const struct conf_text *text, struct conf **out)
{
	int result;

	memset(&errors, 0, offsetof(struct conf_errors, items));
	result = conf_parse_text(text, out, &errors);
	if (result == -EINVAL && errors.count == 0)
		abort();
	if (result != 0 && result != -EINVAL)
		abort();
	for (size_t i = 0; i < errors.count; i++) {
		if (strchr(errors.items[i].text, ';') == NULL &&
		    strlen(errors.items[i].text) < CONF_ERROR_BYTES_MAX - 1)
			abort();
	}
	return result;
}

static void check_dump(const struct conf *conf)
{
	struct conf_text text = {.name = "dump"};
	struct conf *again = NULL;
	char *dump = conf_dump(conf);

	if (dump == NULL)
		abort();
	text.text = dump;
	text.length = strlen(dump);
	if (parse(&text, &again) != 0 || !conf_equal(conf, again))
		abort();
	conf_free(again);
	free(dump);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *zero = size == 0 ? NULL : memchr(data, 0, size);
	struct conf_text text = {.name = "fuzz", .text = (const char *)data, .length = size};
	struct conf *conf = NULL;

	if (zero != NULL) {
		text.length = (size_t)(zero - data);
		text.secrets = (const char *)zero + 1;
		text.secrets_length = size - text.length - 1;
	}
	if (size == 0)
		text.text = "";
	if (parse(&text, &conf) == 0)
		check_dump(conf);
	conf_free(conf);
	return 0;
}
