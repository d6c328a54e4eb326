/*
 * The command line of `ringsan bench`: values arrive, mistakes are refused with a message that
 * names the option and exit status 2, and the manual knows every option.
 */
#include "target/bench/options.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "target/bench/bench.h"

#define ARGS_MAX 16
#define URL "iscsi://127.0.0.1/iqn.a/0"

static struct bench_options options;
static char error[512];

/* Words separated by spaces, as a shell would cut them; they outlive the next call. */
static int words(const char *line, char **argv)
{
	static char text[512];
	int argc = 0;

	(void)snprintf(text, sizeof(text), "bench %s", line);
	for (char *at = strtok(text, " "); at && argc < ARGS_MAX; at = strtok(NULL, " "))
		argv[argc++] = at;
	argv[argc] = NULL;
	return argc;
}

static int parse(const char *line)
{
	char *argv[ARGS_MAX + 1];
	int argc = words(line, argv);

	error[0] = '\0';
	return bench_options_parse(&options, argc, argv, error, sizeof(error));
}

Test(bench_options, defaults)
{
	cr_assert_eq(parse(URL), 0, "%s", error);
	cr_assert_eq(options.sessions, 1);
	cr_assert_eq(options.queue_depth, 32);
	cr_assert_eq(options.mix.count, 1);
	cr_assert_eq(options.mix.classes[0].bytes, 4096);
	cr_assert_eq(options.interval_ms, 125);
	cr_assert_eq(options.threads, 1);
	cr_assert(options.immediate_data && !options.initial_r2t && !options.verify);
}

Test(bench_options, values_arrive)
{
	cr_assert_eq(parse("-s 8 -q64 --block-size=64K --workload mix --read-percent 30 "
			   "-p sequential " URL " --threads 2"),
		     0, "%s", error);
	cr_assert_eq(options.sessions, 8);
	cr_assert_eq(options.queue_depth, 64);
	cr_assert_eq(options.mix.classes[0].bytes, 65536);
	cr_assert_eq(options.mix.classes[0].read_percent, 30);
	cr_assert_eq(options.mix.classes[0].run, MIX_RUN_SEQUENTIAL);
	cr_assert_eq(options.workload, BENCH_MIX);
	cr_assert_eq(options.read_percent, 30);
	cr_assert_eq(options.pattern, BENCH_SEQUENTIAL);
	cr_assert_eq(options.threads, 2);
	cr_assert_eq(parse("--time 250ms --digests both --cpu 1,3 --initial-r2t yes --json " URL),
		     0, "%s", error);
	cr_assert_eq(options.time_ms, 250);
	cr_assert_eq(options.digests, BENCH_DIGEST_BOTH);
	cr_assert_eq(options.cpus.count, 2);
	cr_assert(options.initial_r2t && options.json);
}

Test(bench_options, threads_never_exceed_sessions)
{
	cr_assert_eq(parse("-s 3 --threads 8 " URL), 0);
	cr_assert_eq(options.threads, 3);
}

struct mistake {
	const char *line;
	const char *message; /* Must occur in the error. */
};

Test(bench_options, mistakes_are_named)
{
	static const struct mistake mistakes[] = {
		{"", "a URL is needed"},
		{URL " " URL, "one URL only"},
		{"http://x/", "it must begin with iscsi://"},
		{"--no-such-thing " URL, "--no-such-thing"},
		{"-Z " URL, "-Z"},
		{URL " --sessions", "needs a value"},
		{URL " -s", "needs a value"},
		{"--sessions=0 " URL, "--sessions: '0' is not between 1 and 1024"},
		{"--sessions=1025 " URL, "--sessions: '1025'"},
		{"--sessions=x " URL, "--sessions: 'x' is not a number"},
		{"--queue-depth=1025 " URL, "--queue-depth"},
		{"--block-size=513 " URL, "--block-size: must be a multiple of 512"},
		{"--block-size=17M " URL, "--block-size: '17M'"},
		{"--block-size=big " URL, "--block-size: 'big' is not a size"},
		{"--block-size=4K:70,64K:0 " URL, "--block-size: '4K:70,64K:0' is not a size"},
		{"--block-size=4K,513 " URL, "--block-size: must be a multiple of 512"},
		{"--block-size=4K,32M " URL, "--block-size: '4K,32M' is not between"},
		{"--profile=desktop " URL, "--profile: there is no 'desktop'"},
		{"--profile=fileserver -b 4K,8K,16K,32K,64K " URL, "more than 16 classes"},
		{"--interval=10ms -t 2000 " URL, "--interval"},
		{"--interval=9ms " URL, "--interval: '9ms' is not between"},
		{"--steady-limit=5s " URL, "--steady-limit"},
		{"--steady-window=100ms --steady-limit=1000s " URL, "--steady-limit"},
		{"--compare one", "--compare needs two files"},
		{"--compare one two three", "--compare needs two files"},
		{"--workload=trim " URL, "--workload: 'trim' is none of read|write|mix"},
		{"--read-percent=101 " URL, "--read-percent"},
		{"--time=soon " URL, "--time: 'soon' is not a time"},
		{"--time=0 " URL, "--time: '0'"},
		{"--immediate-data=maybe " URL, "--immediate-data: 'maybe' is neither yes nor no"},
		{"--cpu=all " URL, "--cpu: 'all' is no list"},
		{"--initiator-name= " URL, "--initiator-name: the value is empty"},
		{"--first-burst=128K --max-burst=64K " URL, "--first-burst"},
		{"--offset=100 " URL, "--offset"},
		{"--verify -s 1024 -q 1024 -b 4K " URL, "--verify"},
		{"--target-pid=0 " URL, "--target-pid"},
		{"--secret-file=x " URL, "--secret-file needs a user"},
		{"--secret-file=/nonexistent iscsi://me@h/t/0", "/nonexistent"},
		{"iscsi://me@h/t/0", "user 'me' needs a secret"},
		{"--json=yes " URL, "--json"},
	};

	unsetenv("RINGSAN_CHAP_SECRET");
	for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
		cr_assert_eq(parse(mistakes[i].line), -EINVAL, "%s", mistakes[i].line);
		cr_assert(strstr(error, mistakes[i].message) != NULL, "'%s': %s", mistakes[i].line,
			  error);
		cr_assert(strchr(error, '\n') == NULL);
	}
}

Test(bench_options, sizes_with_shares)
{
	cr_assert_eq(parse("-b 4K:70,64K:30 -w write " URL), 0, "%s", error);
	cr_assert_eq(options.mix.count, 2);
	cr_assert_eq(options.mix.classes[0].bytes, 4096);
	cr_assert_eq(options.mix.classes[1].bytes, 65536);
	cr_assert_eq(options.mix.classes[1].weight, 30);
	cr_assert_eq(options.mix.classes[1].read_percent, 0);
	cr_assert_eq(options.mix.unit_bytes, 4096);
	cr_assert_eq(options.mix.largest_bytes, 65536);
}

Test(bench_options, profile_sets_what_no_option_sets)
{
	cr_assert_eq(parse("--profile oltp " URL), 0, "%s", error);
	cr_assert_eq(options.sessions, 4);
	cr_assert_eq(options.queue_depth, 8);
	cr_assert_eq(options.mix.count, 3);
	cr_assert_eq(options.workload, BENCH_MIX);
	cr_assert_eq(parse("--profile backup " URL), 0, "%s", error);
	cr_assert_eq(options.workload, BENCH_READ);
	cr_assert_eq(parse("--profile vm-boot " URL), 0, "%s", error);
	cr_assert_eq(options.burst, 64);
	cr_assert_eq(options.pause_ms, 2);
}

Test(bench_options, options_override_a_profile_wherever_they_stand)
{
	static const char *const lines[] = {
		"-s 2 -q 3 -b 4K,8K --read-percent 10 -p random --burst 7 --profile oltp " URL,
		"--profile oltp -s 2 -q 3 -b 4K,8K --read-percent 10 -p random --burst 7 " URL,
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		cr_assert_eq(parse(lines[i]), 0, "%s", error);
		cr_assert_eq(options.sessions, 2);
		cr_assert_eq(options.queue_depth, 3);
		cr_assert_eq(options.burst, 7);
		cr_assert_eq(options.mix.count, 6);
		for (unsigned k = 0; k < 6; k++) {
			cr_assert_eq(options.mix.classes[k].bytes, k % 2 ? 8192u : 4096u);
			cr_assert_eq(options.mix.classes[k].read_percent, 10);
			cr_assert_eq(options.mix.classes[k].run, MIX_RUN_RANDOM);
		}
	}
	cr_assert_eq(parse("--profile oltp -w read " URL), 0, "%s", error);
	cr_assert_eq(options.workload, BENCH_READ);
}

Test(bench_options, comparison_takes_files_and_no_url)
{
	cr_assert_eq(parse("--compare a b --tolerance 3"), 0, "%s", error);
	cr_assert_str_eq(options.files[0], "a");
	cr_assert_str_eq(options.files[1], "b");
	cr_assert_eq(options.tolerance_percent, 3);
}

Test(bench_options, every_bound_is_kept)
{
	for (size_t i = 0; i < bench_option_count; i++) {
		const struct option_row *row = &bench_option_rows[i];
		char line[128];

		if (row->kind != OPTION_NUMBER || row->max == UINT64_MAX)
			continue;
		(void)snprintf(line, sizeof(line), "--%s=%lu " URL, row->name, row->max);
		cr_assert_eq(parse(line), 0, "%s: %s", line, error);
		(void)snprintf(line, sizeof(line), "--%s=%lu " URL, row->name, row->max + 1);
		cr_assert_eq(parse(line), -EINVAL, "%s", line);
	}
}

Test(bench_options, secret_from_environment_comes_before_the_url)
{
	setenv("RINGSAN_CHAP_SECRET", "from-environment", 1);
	cr_assert_eq(parse("iscsi://me%from-url@h/t/0"), 0, "%s", error);
	cr_assert_str_eq(options.url.secret, "from-environment");
	unsetenv("RINGSAN_CHAP_SECRET");
	cr_assert_eq(parse("iscsi://me%from-url@h/t/0"), 0, "%s", error);
	cr_assert_str_eq(options.url.secret, "from-url");
}

static void write_secret(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	cr_assert(file != NULL);
	cr_assert(fputs(text, file) >= 0 && fclose(file) == 0);
}

Test(bench_options, secret_from_file_comes_first)
{
	char path[] = "/tmp/ringsan-secret-XXXXXX";
	char line[128];
	char longest[BENCH_SECRET_BYTES_MAX + 2];
	int fd = mkstemp(path);

	cr_assert(fd >= 0 && close(fd) == 0);
	(void)snprintf(line, sizeof(line), "--secret-file=%s iscsi://me@h/t/0", path);
	setenv("RINGSAN_CHAP_SECRET", "from-environment", 1);
	write_secret(path, "from-file\nsecond line\n");
	cr_assert_eq(parse(line), 0, "%s", error);
	cr_assert_str_eq(options.url.secret, "from-file");
	write_secret(path, "\n");
	cr_assert_eq(parse(line), -EINVAL);
	memset(longest, 's', sizeof(longest));
	longest[BENCH_SECRET_BYTES_MAX] = '\0';
	write_secret(path, longest);
	cr_assert_eq(parse(line), 0, "%s", error);
	longest[BENCH_SECRET_BYTES_MAX] = 's';
	longest[BENCH_SECRET_BYTES_MAX + 1] = '\0';
	write_secret(path, longest);
	cr_assert_eq(parse(line), -EINVAL);
	(void)unlink(path);
}

static int exit_status(const char *line)
{
	char *argv[ARGS_MAX + 1];
	int argc = words(line, argv);

	return bench_main(argc, argv);
}

Test(bench_options, wrong_command_line_exits_with_2, .init = cr_redirect_stderr)
{
	cr_assert_eq(exit_status("--sessions=none " URL), 2);
	cr_assert_eq(exit_status(""), 2);
}

Test(bench_options, help_needs_nothing_else, .init = cr_redirect_stdout)
{
	cr_assert_eq(exit_status("--help"), 0);
	cr_assert_eq(exit_status("-h --sessions=none"), 0);
	cr_assert_eq(exit_status("--profile=list"), 0);
}

/* The manual is read from where the tests are run, the root of the repository. */
Test(bench_options, manual_describes_every_option)
{
	static char manual[131072];
	FILE *file = fopen("target/ringsan.1", "r");
	size_t bytes;

	cr_assert(file != NULL, "run from the root of the repository");
	bytes = fread(manual, 1, sizeof(manual) - 1, file);
	cr_assert(bytes > 0 && fclose(file) == 0);
	for (size_t i = 0; i < bench_option_count; i++) {
		char item[64];

		(void)snprintf(item, sizeof(item), "Fl -%s", bench_option_rows[i].name);
		cr_assert(strstr(manual, item) != NULL, "ringsan.1 lacks --%s",
			  bench_option_rows[i].name);
	}
}
