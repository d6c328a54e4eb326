/*
 * Configurations from files: the examples are right, the secrets file must be closed to others, a
 * secret is gone when the configuration is, and what conf_dump writes means the same again.
 */
#include "conf/parse.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/attr.h"

static struct conf_errors errors;

static char *slurp(const char *path)
{
	static char text[65536];
	FILE *file = fopen(path, "r");
	size_t length;

	cr_assert_not_null(file, "%s: run this from the root of the tree", path);
	length = fread(text, 1, sizeof(text) - 1, file);
	text[length] = '\0';
	(void)fclose(file);
	return strdup(text);
}

static int parse(const char *text, const char *secrets, struct conf **conf)
{
	const struct conf_text input = {
		.name = "f",
		.text = text,
		.length = strlen(text),
		.secrets = secrets,
		.secrets_length = secrets == NULL ? 0 : strlen(secrets),
	};

	memset(&errors, 0, sizeof(errors));
	return conf_parse_text(&input, conf, &errors);
}

/* A folder that the test removes by itself. */
struct folder {
	char path[32];
	char conf[64];
	char secrets[64];
};

static void folder_make(struct folder *folder)
{
	strcpy(folder->path, "/tmp/conf_files.XXXXXX");
	cr_assert_not_null(mkdtemp(folder->path));
	(void)snprintf(folder->conf, sizeof(folder->conf), "%s/conf", folder->path);
	(void)snprintf(folder->secrets, sizeof(folder->secrets), "%s/secrets", folder->path);
}

static void folder_remove(const struct folder *folder)
{
	(void)unlink(folder->conf);
	(void)unlink(folder->secrets);
	cr_expect_eq(rmdir(folder->path), 0);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	cr_assert_not_null(file);
	(void)fputs(text, file);
	cr_assert_eq(fclose(file), 0);
	cr_assert_eq(chmod(path, mode), 0);
}

static void write_conf(const struct folder *folder)
{
	char text[256];

	(void)snprintf(text, sizeof(text),
		       "secrets = \"%s\"\nportal \"127.0.0.1\" { }\n"
		       "target \"iqn.2026-11.io.ringsan:a\" { auth { users = { a } } }\n",
		       folder->secrets);
	write_file(folder->conf, text, 0644);
}

Test(conf_files, examples_are_right)
{
	static const char *const paths[] = {
		"conf/examples/ringsan.conf",
		"conf/examples/quickstart.conf",
		"conf/examples/ovirt-lab.conf",
	};
	char *secrets = slurp("conf/examples/example.secrets");

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		char *text = slurp(paths[i]);
		struct conf *conf = NULL;

		cr_expect_eq(parse(text, secrets, &conf), 0, "%s: %s", paths[i],
			     errors.items[0].text);
		cr_expect_eq(conf->target_count, 1);
		conf_free(conf);
		free(text);
	}
	free(secrets);
}

Test(conf_files, quickstart_has_ten_lines)
{
	char *text = slurp("conf/examples/quickstart.conf");
	int lines = 0;

	for (const char *c = text; *c != '\0'; c++)
		lines += *c == '\n';
	cr_expect_eq(lines, 10);
	free(text);
}

Test(conf_files, a_file_is_loaded_with_its_secrets)
{
	struct folder folder;
	struct conf *conf = NULL;
	const struct conf_user *user;

	folder_make(&folder);
	write_conf(&folder);
	write_file(folder.secrets, "# comment\n\n  a \t the secret of a  \r\nb 210987654321", 0600);
	memset(&errors, 0, sizeof(errors));
	cr_assert_eq(conf_load(folder.conf, &conf, &errors), 0, "%s", errors.items[0].text);
	cr_expect_str_eq(conf->file, folder.conf);
	cr_expect_eq(conf->user_count, 2);
	user = conf_user_find(conf, "a");
	cr_assert_not_null(user);
	cr_expect_eq(user->line, 3);
	cr_expect_eq(user->secret_bytes, strlen("the secret of a"));
	cr_expect_eq(memcmp(user->secret, "the secret of a", user->secret_bytes), 0);
	cr_expect_null(conf_user_find(conf, "A"));
	conf_free(conf);
	folder_remove(&folder);
}

/* Flags of the mapping that `at` lies in, proc_pid_smaps(5): "rd wr mr mw me lo dd ". */
static void flags_of_mapping(const void *at, char *out, size_t size)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	bool here = false;
	char line[512];

	cr_assert_not_null(file);
	out[0] = '\0';
	while (fgets(line, sizeof(line), file) != NULL) {
		unsigned long begin;
		unsigned long end;

		if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
			here = (uintptr_t)at >= begin && (uintptr_t)at < end;
		else if (here && strncmp(line, "VmFlags: ", 9) == 0)
			(void)snprintf(out, size, "%s", line + 9);
	}
	(void)fclose(file);
}

Test(conf_files, secrets_stay_out_of_core_dumps)
{
	struct folder folder;
	struct conf *conf = NULL;
	char flags[128];

	folder_make(&folder);
	write_conf(&folder);
	write_file(folder.secrets, "a the secret of a\n", 0600);
	memset(&errors, 0, sizeof(errors));
	cr_assert_eq(conf_load(folder.conf, &conf, &errors), 0, "%s", errors.items[0].text);
	flags_of_mapping(conf_user_find(conf, "a")->secret, flags, sizeof(flags));
	cr_expect_not_null(strstr(flags, "dd "), "%s", flags);
	flags_of_mapping(conf, flags, sizeof(flags));
	cr_expect_null(strstr(flags, "dd "), "%s", flags);
	conf_free(conf);
	folder_remove(&folder);
}

static void expect_refused(const struct folder *folder, const char *words)
{
	struct conf *conf = NULL;

	memset(&errors, 0, sizeof(errors));
	cr_expect_eq(conf_load(folder->conf, &conf, &errors), -EINVAL);
	cr_expect_null(conf);
	cr_expect_eq(errors.count, 1);
	cr_expect_not_null(strstr(errors.items[0].text, words), "%s", errors.items[0].text);
	cr_expect_null(strstr(errors.items[0].text, "123456789012"), "a secret is shown");
}

Test(conf_files, secrets_open_to_others_are_refused)
{
	static const mode_t modes[] = {0644, 0640, 0660, 0604, 0601, 0610, 0602};
	struct folder folder;

	folder_make(&folder);
	write_conf(&folder);
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		write_file(folder.secrets, "a 123456789012\n", modes[i]);
		expect_refused(&folder, "others than its owner may use it; run chmod 600 on it");
	}
	folder_remove(&folder);
}

Test(conf_files, secrets_must_be_a_file)
{
	struct folder folder;

	folder_make(&folder);
	write_conf(&folder);
	expect_refused(&folder, "cannot be read: No such file or directory");
	cr_assert_eq(mkfifo(folder.secrets, 0600), 0);
	expect_refused(&folder, "not a regular file");
	folder_remove(&folder);
}

Test(conf_files, secrets_of_another_user_are_refused)
{
	struct folder folder;

	if (geteuid() != 0)
		cr_skip("only root can give a file away");
	folder_make(&folder);
	write_conf(&folder);
	write_file(folder.secrets, "a 123456789012\n", 0600);
	cr_assert_eq(chown(folder.secrets, 12345, 12345), 0);
	expect_refused(&folder, "belongs to another user");
	folder_remove(&folder);
}

Test(conf_files, secrets_too_large_are_refused)
{
	struct folder folder;

	folder_make(&folder);
	write_conf(&folder);
	write_file(folder.secrets, "", 0600);
	cr_assert_eq(truncate(folder.secrets, CONF_SECRETS_BYTES_MAX + 1), 0);
	expect_refused(&folder, "larger than 1 MiB");
	folder_remove(&folder);
}

/* A zero byte is neither a blank nor a secret's end. */
Test(conf_files, a_zero_byte_among_secrets_is_refused)
{
	static const char secrets[] = "b 210987654321\na\000123456789012\n";
	static const char text[] = "secrets = \"/s\"\nportal \"127.0.0.1\" { }\n";
	const struct conf_text input = {
		.name = "f",
		.text = text,
		.length = strlen(text),
		.secrets = secrets,
		.secrets_length = sizeof(secrets) - 1,
	};
	struct conf *conf = NULL;

	memset(&errors, 0, sizeof(errors));
	cr_expect_eq(conf_parse_text(&input, &conf, &errors), -EINVAL);
	cr_assert_eq(errors.count, 1);
	cr_expect_not_null(strstr(errors.items[0].text, "control character"), "%s",
			   errors.items[0].text);
	conf_free(conf);
}

Test(conf_files, a_file_that_cannot_be_read_is_an_error)
{
	struct folder folder;

	folder_make(&folder);
	expect_refused(&folder, "cannot be read: No such file or directory; name the file with -c");
	write_file(folder.conf, "", 0600);
	cr_assert_eq(truncate(folder.conf, CONF_FILE_BYTES_MAX + 1), 0);
	expect_refused(&folder, "cannot be read: File too large");
	cr_assert_eq(truncate(folder.conf, 100), 0);
	expect_refused(&folder, "a zero byte; this is not a text file");
	folder_remove(&folder);
}

Test(conf_files, a_dump_means_the_same_again)
{
	static const char text[] =
		"loops = 3\nengine = aio\nlog-level = debug\ncompany-id = 00-1b-cd\n"
		"secrets = '/s $x \"y\" \\'z\\' \\\\'\n"
		"limits { memory = 8388609 nop-interval = 0 login-timeout = 1500ms }\n"
		"discovery-auth { users = { d, e } mutual = m }\n"
		"portal \"[2001:DB8::1]\" { tag = 7 advertise = \"[2001:db8::2]\" }\n"
		"portal \"[fe80::1%eth0]:1\" { advertise = \"san.example.org:3261\" }\n"
		"portal \"192.0.2.1:0\" { advertise = 192.0.2.2 }\n"
		"target \"IQN.2026-11.io.ringsan:A\" {\n"
		"alias = \"caf\303\251 \\\" \\\\\" portal-groups = { 7, 1 }\n"
		"preferred-groups = { 1 } standby-groups = { 7 } states-by-hosts = yes "
		"transition-time = 255s\n"
		"access { initiators = { \"IQN.*:h?\", \"*\" } networks = { \"10.0.0.0/8\", "
		"\"::1\" } }\n"
		"access { networks = { \"0.0.0.0/0\" } }\n"
		"auth { users = { a } mutual = m algorithms = { sha3-256, md5 } }\n"
		"online = no redirect = \"[2001:db8::3]:3261\" redirect-permanent = yes\n"
		"scsi-events = yes\n"
		"lun 16383 { type = null size = 8192T block-size = 4K vendor = \"a b\" serial = "
		"s.1 }\n"
		"lun 1 { image = \"/i\" read-only = yes identity = "
		"\"NAA.652534E0123456789ABCDEF012345678\"\n"
		"allocation-unit = 64K cache = page write-cache = off look-ahead = 64K size = "
		"1049088 }\n"
		"lun 3 { type = qcow2 image = \"/q\" size = 64T cluster-size = 2M backing = g.raw "
		"}\n"
		"lun 2 { type = fault fault-control = /f size = 1M physical-block-size = 512 }\n"
		"}\ntarget \"eui.02004567A425678D\" { access { initiators = \"*\" } }\n";
	struct conf *conf = NULL;
	struct conf *again = NULL;
	char *dump;
	char *second;

	cr_assert_eq(parse(text, NULL, &conf), 0, "%s", errors.items[0].text);
	dump = conf_dump(conf);
	cr_assert_eq(parse(dump, NULL, &again), 0, "%s\n%s", errors.items[0].text, dump);
	second = conf_dump(again);
	cr_expect(conf_equal(conf, again));
	cr_expect_str_eq(dump, second);
	free(dump);
	free(second);
	conf_free(conf);
	conf_free(again);
}

/* conf_equal is the fuzzer's referee: it must see every difference. */
Test(conf_files, unequal_configurations_are_told_apart)
{
#define TARGET "target \"iqn.2026-11.io.ringsan:a\" {"
	static const char *const texts[] = {
		"",
		"loops = 1\n",
		"limits { memory = 8388609 }\n",
		"limits { memory = 8388610 }\n",
		"secrets = \"/s\"\n",
		"portal \"127.0.0.2\" { }\n",
		"portal \"127.0.0.2\" { tag = 2 }\n",
		"portal \"127.0.0.2\" { advertise = a }\n",
		"portal \"127.0.0.2\" { advertise = \"a:1\" }\n",
		TARGET "}\n",
		TARGET "alias = a }\n",
		TARGET "portal-groups = { 1 } }\n",
		TARGET "preferred-groups = { 1 } }\n",
		TARGET "non-optimized-groups = { 1 } }\n",
		TARGET "standby-groups = { 1 } }\n",
		TARGET "unavailable-groups = { 1 } }\n",
		TARGET "offline-groups = { 1 } }\n",
		TARGET "transition-time = 1s }\n",
		TARGET "access { networks = \"10.0.0.0/8\" } }\n",
		TARGET "access { networks = \"10.0.0.0/9\" } }\n",
		TARGET "access { initiators = \"iqn.*\" } }\n",
		TARGET "access { initiators = { \"iqn.*\", \"eui.*\" } } }\n",
		TARGET "lun 0 { image = \"/a\" } }\n",
		TARGET "lun 1 { image = \"/a\" } }\n",
		TARGET "lun 0 { image = \"/a\" read-only = yes } }\n",
		TARGET "lun 0 { image = \"/a\" cache = page } }\n",
		TARGET "lun 0 { image = \"/a\" look-ahead = 0 } }\n",
		"secrets = \"/s\"\n" TARGET "auth { users = u } }\n",
	};
	struct conf *confs[ARRAY_SIZE(texts)] = {0};
	char text[256];

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		(void)snprintf(text, sizeof(text), "portal \"127.0.0.1\" { }\n%s", texts[i]);
		cr_assert_eq(parse(text, NULL, &confs[i]), 0, "%s%s", text, errors.items[0].text);
	}
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(texts); j++)
			cr_expect_eq(conf_equal(confs[i], confs[j]), i == j, "%s%s", texts[i],
				     texts[j]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		conf_free(confs[i]);
}
