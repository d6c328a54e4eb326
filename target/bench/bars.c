/*
 * Latency histograms for people: many fine buckets become a few bars, whose edges are powers of two
 * or equal steps between them. Pure functions, any thread. Read next: report.h.
 */
#include "target/bench/report.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "target/bench/totals.h"

#define TEXT_BARS_MAX 20u
#define TEXT_BAR_CHARS 44u

/* The first bucket with a sample, as its end in nanoseconds. */
static uint64_t first_ns(const struct histogram *histogram)
{
	return histogram_percentile_ns(histogram, 0);
}

/* Steps to a power of two: from eighths upwards, as fine as the bars allow. */
static double step_of(uint64_t least_ns, uint64_t most_ns, unsigned bars_max)
{
	double octaves = log2((double)most_ns + 1) - log2((double)least_ns + 1);
	double step = 0.125;

	while (octaves / step + 2 > bars_max)
		step *= 2;
	return step;
}

void bench_bars_count(struct bench_bars *bars, const struct histogram *histogram)
{
	uint64_t below = 0;

	bars->most = 0;
	for (unsigned i = 0; i < bars->count; i++) {
		double edge_ns = bars->edges_us[i + 1] * (double)CLOCK_NS_PER_US;
		uint64_t end_count = i + 1 == bars->count
					     ? histogram->count
					     : histogram_count_below(histogram, (uint64_t)edge_ns);

		bars->counts[i] = end_count - below;
		below = end_count;
		if (bars->counts[i] > bars->most)
			bars->most = bars->counts[i];
	}
}

void bench_bars_cut(struct bench_bars *out, const struct histogram *histogram, unsigned bars_max)
{
	double step;
	double first;
	double last;

	assert(bars_max >= 3 && bars_max <= BARS_MAX);
	*out = (struct bench_bars){.count = 0};
	if (histogram->count == 0)
		return;
	step = step_of(first_ns(histogram), histogram->max_ns, bars_max);
	first = floor(log2((double)first_ns(histogram) + 1) / step);
	last = floor(log2((double)histogram->max_ns + 1) / step);
	out->count = (unsigned)(last - first) + 1;
	assert(out->count <= bars_max);
	for (unsigned i = 0; i <= out->count; i++)
		out->edges_us[i] = exp2((first + i) * step) / (double)CLOCK_NS_PER_US;
	bench_bars_count(out, histogram);
}

/* Three figures, as far as they say something. */
static void print_edge(double us, FILE *to)
{
	int digits = us < 10 ? 2 : us < 100 ? 1 : 0;

	(void)fprintf(to, "%10.*f", digits, us);
}

void bench_bars_print(const struct histogram *histogram, const char *name, FILE *to)
{
	char bar[TEXT_BAR_CHARS + 1];
	struct bench_bars bars;
	uint64_t below = 0;

	bench_bars_cut(&bars, histogram, TEXT_BARS_MAX);
	if (bars.count > 0) {
		(void)fprintf(to, "\n%s latency, us%*s share     up to\n", name,
			      (int)(TEXT_BAR_CHARS + 20 - strlen(name)), "");
	}
	for (unsigned i = 0; i < bars.count; i++) {
		/* A bar that has samples shows at least one mark. */
		uint64_t chars = (bars.counts[i] * TEXT_BAR_CHARS + bars.most - 1) / bars.most;

		memset(bar, '#', chars);
		bar[chars] = '\0';
		below += bars.counts[i];
		print_edge(bars.edges_us[i], to);
		(void)fputs(" - ", to);
		print_edge(bars.edges_us[i + 1], to);
		(void)fprintf(to, "  %-*s %7.3f %% %7.3f %%\n", (int)TEXT_BAR_CHARS, bar,
			      100.0 * (double)bars.counts[i] / (double)histogram->count,
			      100.0 * (double)below / (double)histogram->count);
	}
}
