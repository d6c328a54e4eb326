/*
 * A result as a drawing: what was run, the main figures, the rate and the latency over time, the
 * distribution of latencies and their percentiles. One SVG document that refers to nothing outside
 * of it. Pure output, main thread. Read next: panel.h, svg.h, totals.h.
 */
#include "target/bench/report.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "target/bench/panel.h"
#include "target/bench/totals.h"

#define WIDTH 1280.0
#define HEIGHT 1010.0
#define MARGIN 24.0
#define GAP 20.0
#define PANELS_TOP 214.0
#define PANEL_WIDTH ((WIDTH - 2 * MARGIN - GAP) / 2)
#define PANEL_HEIGHT ((HEIGHT - PANELS_TOP - MARGIN - GAP) / 2)
/* More points than this on one line say nothing more; neighbours are averaged. */
#define POINTS_MAX 400u
#define PLOT_BARS_MAX 28u
/* The percentile curve goes to p99.9999 at most. */
#define NINES_MAX 6.0

static const char style[] =
	"svg { font-family: system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', 'DejaVu "
	"Sans', sans-serif; }\n"
	".page { fill: #f6f7f9; }\n"
	".panel { fill: #ffffff; stroke: #e1e5ea; stroke-width: 1; rx: 8; }\n"
	".title { font-size: 24px; font-weight: 600; fill: #14202e; }\n"
	".subtitle { font-size: 14px; fill: #536273; }\n"
	".heading { font-size: 15px; font-weight: 600; fill: #14202e; }\n"
	".figure { font-size: 22px; font-weight: 600; fill: #14202e; }\n"
	".name { font-size: 13px; fill: #536273; }\n"
	".tick { font-size: 12px; fill: #536273; }\n"
	".warning { font-size: 14px; font-weight: 600; fill: #b42318; }\n"
	".middle { text-anchor: middle; }\n"
	".end { text-anchor: end; }\n"
	".grid { stroke: #e9ecf0; stroke-width: 1; }\n"
	".edge { stroke: #9aa7b5; stroke-width: 1; }\n"
	".line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }\n"
	".dash { stroke-dasharray: 5 4; }\n"
	".read { stroke: #2463d1; }\n"
	".write { stroke: #d9621a; }\n"
	".both { stroke: #3d4a5a; }\n"
	".before { stroke: #a9b4c0; }\n"
	".bar { stroke: #ffffff; stroke-width: 0.5; }\n"
	".readbar { fill: #2463d1; }\n"
	".writebar { fill: #d9621a; }\n";

/* What the parts of the drawing share. */
struct plot {
	const struct bench_result *result;
	const struct bench_totals *totals;
	FILE *to;
};

static const char *const solid[BENCH_ROW_COUNT] = {
	[BENCH_ROW_READ] = "line read",
	[BENCH_ROW_WRITE] = "line write",
	[BENCH_ROW_BOTH] = "line both",
};
static const char *const dashed[BENCH_ROW_COUNT] = {
	[BENCH_ROW_READ] = "line dash read",
	[BENCH_ROW_WRITE] = "line dash write",
	[BENCH_ROW_BOTH] = "line dash both",
};

/* ---- Head ---- */

static void draw_figure(const struct plot *plot, unsigned number, const char *name,
			const char *value)
{
	double width = (WIDTH - 2 * MARGIN - 7 * 12) / 8;
	struct svg_box box = {MARGIN + number * (width + 12), 112, width, 78};

	svg_box(plot->to, &box, "panel");
	svg_text(plot->to, (struct svg_point){box.x + 14, box.y + 26}, "name", name);
	svg_text(plot->to, (struct svg_point){box.x + 14, box.y + 58}, "figure", value);
}

/* Of all commands, or of the one direction there is. */
static const struct bench_total *main_row(const struct plot *plot)
{
	return &plot->totals->rows[BENCH_ROW_BOTH];
}

static void draw_latencies(const struct plot *plot)
{
	static const struct bench_percentile shown[] = {
		{"p50", 500000}, {"p99", 990000}, {"p99.9", 999000}};
	const struct histogram *latency = &main_row(plot)->latency;
	char text[32];

	axis_latency(bench_us(histogram_mean_ns(latency)), text, sizeof(text));
	draw_figure(plot, 2, "mean latency", text);
	for (unsigned i = 0; i < ARRAY_SIZE(shown); i++) {
		axis_latency(bench_us(histogram_percentile_ns(latency, shown[i].per_million)), text,
			     sizeof(text));
		draw_figure(plot, 3 + i, shown[i].name, text);
	}
}

static void draw_figures(const struct plot *plot)
{
	const struct bench_result *result = plot->result;
	char text[32];

	axis_number(main_row(plot)->iops, text, sizeof(text));
	draw_figure(plot, 0, "IOPS", text);
	axis_number(main_row(plot)->bytes_per_s / (1 << 20), text, sizeof(text));
	draw_figure(plot, 1, "MiB/s", text);
	draw_latencies(plot);
	axis_latency(bench_us_per_io(result, result->target_cpu_ns), text, sizeof(text));
	draw_figure(plot, 6, "target CPU per I/O", result->has_target_cpu ? text : "\xe2\x80\x93");
	axis_latency(bench_us_per_io(result, result->client_cpu_ns), text, sizeof(text));
	draw_figure(plot, 7, "client CPU per I/O", text);
}

/* What makes the figures doubtful. */
static void draw_warning(const struct plot *plot)
{
	const struct bench_result *result = plot->result;
	char text[128] = "";

	if (result->io_errors + result->verify_errors > 0) {
		(void)snprintf(text, sizeof(text), "%" PRIu64 " errors",
			       result->io_errors + result->verify_errors);
	} else if (result->options->steady_state && !result->steady.reached) {
		(void)snprintf(text, sizeof(text), "no steady state was reached");
	}
	svg_text(plot->to, (struct svg_point){WIDTH - MARGIN, 54}, "warning end", text);
}

static void draw_head(const struct plot *plot, const char *title)
{
	const struct bench_result *result = plot->result;
	char text[640];
	char size[32];
	int used;

	svg_text(plot->to, (struct svg_point){MARGIN, 54}, "title", title);
	bench_url_describe(&result->options->url, text, sizeof(text));
	bench_size_describe(result->capacity.bytes, size, sizeof(size));
	used = (int)strlen(text);
	(void)snprintf(text + used, sizeof(text) - (size_t)used, ", %s, measured for %.1f s", size,
		       bench_seconds(result));
	svg_text(plot->to, (struct svg_point){MARGIN, 84}, "subtitle", text);
	draw_warning(plot);
}

/* ---- Panels over time ---- */

static double middle_s(const struct bench_interval *interval)
{
	return interval->begin_s + interval->seconds / 2;
}

typedef double sample_fn(const struct bench_sample *sample);

static double sample_iops(const struct bench_sample *sample)
{
	return sample->iops;
}

static double sample_p50(const struct bench_sample *sample)
{
	return bench_us(sample->p50_ns);
}

static double sample_p99(const struct bench_sample *sample)
{
	return bench_us(sample->p99_ns);
}

/* A line through the means of groups of intervals; it reaches from the begin of the first to the
 * end of the last, so that a single interval shows, too. */
static void draw_series(const struct plot *plot, const struct panel *panel, enum bench_row row,
			sample_fn *sample, const char *class)
{
	const struct bench_interval *intervals = plot->result->intervals;
	uint32_t count = plot->result->interval_count;
	uint32_t group = (count + POINTS_MAX - 1) / POINTS_MAX;
	double value = 0;

	if (count == 0)
		return;
	svg_path_begin(plot->to, class);
	for (uint32_t i = 0; i < count; i += group) {
		uint32_t end = i + group < count ? i + group : count;
		double sum = 0;

		for (uint32_t k = i; k < end; k++)
			sum += sample(&intervals[k].rows[row]);
		value = sum / (end - i);
		if (i == 0)
			svg_path_point(plot->to, panel_point(panel, 0, value), true);
		svg_path_point(plot->to,
			       panel_point(panel, middle_s(&intervals[(i + end - 1) / 2]), value),
			       false);
	}
	svg_path_point(plot->to, panel_point(panel, bench_seconds(plot->result), value), false);
	svg_path_end(plot->to);
}

/* The rates before the measured time, when a steady state was waited for. */
static double before_s(const struct bench_result *result)
{
	return result->steady_count * (double)result->options->steady_window_ms / STEADY_SAMPLES /
	       1000;
}

static void draw_before(const struct plot *plot, const struct panel *panel)
{
	const struct bench_result *result = plot->result;
	uint32_t group = (result->steady_count + POINTS_MAX - 1) / POINTS_MAX;
	double begin_s = -before_s(result);

	if (result->steady_count == 0)
		return;
	svg_path_begin(plot->to, "line before");
	for (uint32_t i = 0; i < result->steady_count; i += group) {
		double at_s = begin_s * (1 - (i + 0.5) / result->steady_count);

		svg_path_point(plot->to, panel_point(panel, at_s, result->steady_rates[i]), i == 0);
	}
	svg_path_end(plot->to);
	svg_line(plot->to, panel_point(panel, 0, 0), panel_point(panel, 0, panel->y.most), "edge");
}

/* The least and the most that any shown series has. */
struct range {
	double least;
	double most;
};

static void widen(struct range *range, double value)
{
	range->least = fmin(range->least, value);
	range->most = fmax(range->most, value);
}

static struct range range_of(const struct plot *plot, sample_fn *sample)
{
	struct range range = {INFINITY, 0};

	for (uint32_t i = 0; i < plot->result->interval_count; i++) {
		for (unsigned row = 0; row < BENCH_ROW_COUNT; row++) {
			double value = sample(&plot->result->intervals[i].rows[row]);

			if (plot->totals->shown[row] && value > 0)
				widen(&range, value);
		}
	}
	return range;
}

static void rate_label(double value, char *out, size_t size_bytes)
{
	axis_number(value, out, size_bytes);
}

static void draw_rates(const struct plot *plot, struct svg_box box)
{
	struct range range = range_of(plot, sample_iops);
	struct panel panel = {
		.to = plot->to,
		.box = box,
		.title = "Rate over time",
		.x_name = "seconds",
		.y_name = "I/O operations per second",
		.x_label = rate_label,
		.y_label = rate_label,
	};

	for (uint32_t i = 0; i < plot->result->steady_count; i++)
		widen(&range, plot->result->steady_rates[i]);
	axis_linear_tight(&panel.x, -before_s(plot->result), bench_seconds(plot->result));
	axis_linear(&panel.y, 0, range.most);
	panel_begin(&panel);
	draw_before(plot, &panel);
	if (plot->result->steady_count > 0)
		panel_legend(&panel, "line before", "before");
	for (int row = BENCH_ROW_BOTH; row >= 0; row--) {
		if (!plot->totals->shown[row])
			continue;
		draw_series(plot, &panel, (enum bench_row)row, sample_iops, solid[row]);
		panel_legend(&panel, solid[row], bench_row_names[row]);
	}
}

static void draw_latency_series(const struct plot *plot, struct panel *panel)
{
	for (int row = BENCH_ROW_WRITE; row >= 0; row--) {
		char name[32];

		if (!plot->totals->shown[row])
			continue;
		draw_series(plot, panel, (enum bench_row)row, sample_p99, dashed[row]);
		draw_series(plot, panel, (enum bench_row)row, sample_p50, solid[row]);
		(void)snprintf(name, sizeof(name), "%s p99", bench_row_names[row]);
		panel_legend(panel, dashed[row], name);
		(void)snprintf(name, sizeof(name), "%s p50", bench_row_names[row]);
		panel_legend(panel, solid[row], name);
	}
}

static void draw_latency_over_time(const struct plot *plot, struct svg_box box)
{
	struct range range = range_of(plot, sample_p99);
	struct panel panel = {
		.to = plot->to,
		.box = box,
		.title = "Latency over time",
		.x_name = "seconds",
		.y_name = "latency",
		.x_label = rate_label,
		.y_label = axis_latency,
	};

	widen(&range, fmin(range_of(plot, sample_p50).least, range.most));
	axis_linear_tight(&panel.x, 0, bench_seconds(plot->result));
	/* Small changes show on a linear scale, tails beside medians only on the other. */
	if (range.most > 8 * range.least) {
		axis_log(&panel.y, range.least, range.most);
	} else {
		axis_linear(&panel.y, 0, range.most);
	}
	panel_begin(&panel);
	draw_latency_series(plot, &panel);
}

/* ---- Panels of the distribution ---- */

static void percent_label(double value, char *out, size_t size_bytes)
{
	(void)snprintf(out, size_bytes, "%.3g %%", value);
}

/* The direction's bars stand beside each other where there are two. */
static void draw_bars(const struct plot *plot, const struct panel *panel,
		      const struct bench_bars *bars, enum bench_row row)
{
	bool two = plot->totals->shown[BENCH_ROW_BOTH];
	const char *class = row == BENCH_ROW_READ ? "bar readbar" : "bar writebar";
	double all = (double)main_row(plot)->latency.count;

	for (unsigned i = 0; i < bars->count; i++) {
		double share = 100.0 * (double)bars->counts[i] / all;
		struct svg_point left = panel_point(panel, bars->edges_us[i], share);
		struct svg_point right = panel_point(panel, bars->edges_us[i + 1], 0);
		struct svg_box box = {left.x, left.y, right.x - left.x, right.y - left.y};

		if (two)
			box.width /= 2;
		if (two && row == BENCH_ROW_WRITE)
			box.x += box.width;
		if (bars->counts[i] > 0)
			svg_box(plot->to, &box, class);
	}
}

static void draw_distribution(const struct plot *plot, struct svg_box box)
{
	const struct histogram *all = &main_row(plot)->latency;
	struct panel panel = {
		.to = plot->to,
		.box = box,
		.title = "Distribution of latencies",
		.x_name = "latency (logarithmic)",
		.y_name = "share of all commands",
		.x_label = axis_latency,
		.y_label = percent_label,
	};
	struct bench_bars bars;

	bench_bars_cut(&bars, all, PLOT_BARS_MAX);
	axis_log(&panel.x, bars.count ? bars.edges_us[0] : 1, bars.edges_us[bars.count]);
	axis_linear(&panel.y, 0, all->count ? 100.0 * (double)bars.most / (double)all->count : 1);
	panel_begin(&panel);
	for (int row = BENCH_ROW_WRITE; row >= 0; row--) {
		if (!plot->totals->shown[row])
			continue;
		bench_bars_count(&bars, &plot->totals->rows[row].latency);
		draw_bars(plot, &panel, &bars, (enum bench_row)row);
		panel_legend(&panel, solid[row], bench_row_names[row]);
	}
	if (all->count == 0)
		panel_note(&panel, "no command ended");
}

/* Nines: 0 is the fastest command, 1 is p90, 2 is p99. */
static double nines_of(uint64_t below, uint64_t count)
{
	return below < count ? -log10((double)(count - below) / (double)count) : NINES_MAX;
}

static void nines_label(double nines, char *out, size_t size_bytes)
{
	if (nines < 0.1) {
		(void)snprintf(out, size_bytes, "0");
	} else if (nines < 0.9) {
		(void)snprintf(out, size_bytes, "p50");
	} else {
		int digits = nines < 2.5 ? 0 : (int)(nines - 1.5);

		(void)snprintf(out, size_bytes, "p%.*f", digits, 100 * (1 - pow(10, -nines)));
	}
}

/* One step for each bucket that has samples; steps closer than a third of a pixel are left out. */
static void draw_percentiles(const struct plot *plot, const struct panel *panel,
			     const struct histogram *latency, const char *class)
{
	struct svg_point last = {-1, 0};
	uint64_t below = 0;

	if (latency->count == 0)
		return;
	svg_path_begin(plot->to, class);
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		double us = bench_us(histogram_bucket_end_ns(i));
		struct svg_point point = panel_point(panel, nines_of(below, latency->count), us);

		if (latency->buckets[i] == 0)
			continue;
		below += latency->buckets[i];
		if (last.x < 0 || below == latency->count ||
		    fabs(point.x - last.x) + fabs(point.y - last.y) > 0.3) {
			svg_path_point(plot->to, point, last.x < 0);
			last = point;
		}
	}
	svg_path_point(plot->to,
		       panel_point(panel, nines_of(latency->count, latency->count),
				   bench_us(latency->max_ns)),
		       false);
	svg_path_end(plot->to);
}

static void nines_axis(struct axis *axis, uint64_t count)
{
	double most = count > 10 ? fmin(ceil(log10((double)count)), NINES_MAX) : 1;

	*axis = (struct axis){.most = most, .tick_count = 2, .ticks = {0, log10(2)}};
	for (int nines = 1; nines <= (int)most; nines++)
		axis->ticks[axis->tick_count++] = nines;
}

static void draw_percentile_curves(const struct plot *plot, struct svg_box box)
{
	const struct histogram *all = &main_row(plot)->latency;
	double least = bench_us(histogram_percentile_ns(all, 0));
	struct panel panel = {
		.to = plot->to,
		.box = box,
		.title = "Latency by percentile",
		.x_name = "percentile",
		.y_name = "latency (logarithmic)",
		.x_label = nines_label,
		.y_label = axis_latency,
	};

	nines_axis(&panel.x, all->count);
	axis_log(&panel.y, least, bench_us(all->max_ns));
	panel_begin(&panel);
	for (int row = BENCH_ROW_WRITE; row >= 0; row--) {
		if (!plot->totals->shown[row])
			continue;
		draw_percentiles(plot, &panel, &plot->totals->rows[row].latency, solid[row]);
		panel_legend(&panel, solid[row], bench_row_names[row]);
	}
	if (all->count == 0)
		panel_note(&panel, "no command ended");
}

/* ---- The whole ---- */

static struct svg_box panel_box(unsigned column, unsigned row)
{
	return (struct svg_box){MARGIN + column * (PANEL_WIDTH + GAP),
				PANELS_TOP + row * (PANEL_HEIGHT + GAP), PANEL_WIDTH, PANEL_HEIGHT};
}

int bench_report_plot(const struct bench_result *result, FILE *to)
{
	const struct svg_box page = {0, 0, WIDTH, HEIGHT};
	struct bench_totals *totals = bench_totals_new(result);
	const struct plot plot = {result, totals, to};
	char title[256];

	if (!totals)
		return -ENOMEM;
	bench_workload_describe(result->options, title, sizeof(title));
	svg_begin(to, &page, title, style);
	svg_box(to, &page, "page");
	draw_head(&plot, title);
	draw_figures(&plot);
	draw_rates(&plot, panel_box(0, 0));
	draw_latency_over_time(&plot, panel_box(1, 0));
	draw_distribution(&plot, panel_box(0, 1));
	draw_percentile_curves(&plot, panel_box(1, 1));
	svg_end(to);
	free(totals);
	return fflush(to) == 0 && !ferror(to) ? 0 : -EIO;
}
