/*
 * `ringsan bench`: drives a running iSCSI target over its own lean initiator and reports what it
 * found. The command line is in ringsan.1. Read next: README.md, bench.c.
 */
#ifndef TARGET_BENCH_BENCH_H
#define TARGET_BENCH_BENCH_H

/* argv[0] is the name of the subcommand. The exit status: 0; 1 if the run failed or any I/O or
 * check did; 2 for a wrong command line; 3 if a comparison found something worse. Main thread. */
int bench_main(int argc, char **argv);

#endif
