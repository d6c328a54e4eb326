/*
 * Scales of a drawing: see axis.h. Pure functions, any thread.
 */
#include "target/bench/axis.h"

#include <math.h>
#include <stdio.h>

#include "base/attr.h"

/* About so many marks on a linear scale. */
#define TICKS_WANTED 5.0

static double clamp(double value, double least, double most)
{
	return fmin(fmax(value, least), most);
}

/* 1, 2 or 5 times a power of ten: the nearest one above. */
static double round_step(double step)
{
	double power = pow(10, floor(log10(step)));
	double digit = step / power;

	return power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
}

static void add_tick(struct axis *axis, double value)
{
	if (axis->tick_count < AXIS_TICKS_MAX)
		axis->ticks[axis->tick_count++] = value;
}

static void linear_ticks(struct axis *axis, double step)
{
	double first = ceil(axis->least / step - 1e-9);
	double last = floor(axis->most / step + 1e-9);
	int count = (int)(last - first) + 1;

	for (int i = 0; i < count && axis->tick_count < AXIS_TICKS_MAX; i++) {
		/* Plus 0, or a tick at -0 would show its sign. */
		add_tick(axis, (first + i) * step + 0.0);
	}
}

static double linear_step(struct axis *axis, double least, double most)
{
	*axis = (struct axis){.least = fmin(least, 0), .most = most};
	if (!(axis->most - axis->least > 1e-9))
		axis->most = axis->least + 1;
	return round_step((axis->most - axis->least) / TICKS_WANTED);
}

void axis_linear(struct axis *axis, double least, double most)
{
	double step = linear_step(axis, least, most);

	axis->most = ceil(axis->most / step - 1e-9) * step;
	linear_ticks(axis, step);
}

void axis_linear_tight(struct axis *axis, double least, double most)
{
	linear_ticks(axis, linear_step(axis, least, most));
}

static double has_log(double value)
{
	return isfinite(value) && value > 0 ? value : 1;
}

/* Of each decade the marks at `digits`. False: there are more than fit. */
static bool log_ticks(struct axis *axis, const double *digits, size_t digit_count, unsigned most)
{
	int first = (int)floor(log10(axis->least));
	int last = (int)ceil(log10(axis->most));

	axis->tick_count = 0;
	for (int decade = first; decade <= last; decade++) {
		for (size_t i = 0; i < digit_count; i++) {
			double value = pow(10, decade) * digits[i];

			if (value < axis->least * 0.999 || value > axis->most * 1.001)
				continue;
			if (axis->tick_count == most)
				return false;
			add_tick(axis, value);
		}
	}
	return true;
}

/* Down to the next 1, 2 or 5, or up. */
static double log_edge(double value, bool up)
{
	static const double digits[] = {1, 2, 5, 10};
	double power = pow(10, floor(log10(value) + 1e-9));
	size_t i = 0;

	while (i + 1 < ARRAY_SIZE(digits) && digits[i + 1] <= value / power * 1.0001)
		i++;
	if (up && digits[i] < value / power * 0.9999)
		i++;
	return power * digits[i < ARRAY_SIZE(digits) ? i : ARRAY_SIZE(digits) - 1];
}

void axis_log(struct axis *axis, double least, double most)
{
	static const double digits[] = {1, 2, 5};
	double low = has_log(least);
	double high = fmax(has_log(most), low);

	*axis = (struct axis){.log = true, .least = log_edge(low, false)};
	axis->most = fmax(log_edge(high, true), axis->least * 2);
	if (!log_ticks(axis, digits, ARRAY_SIZE(digits), 9))
		(void)log_ticks(axis, digits, 1, AXIS_TICKS_MAX);
}

double axis_position(const struct axis *axis, double value)
{
	double at = clamp(value, axis->least, axis->most);
	double share = axis->log ? log(at / axis->least) / log(axis->most / axis->least)
				 : (at - axis->least) / (axis->most - axis->least);

	return axis->from + share * (axis->to - axis->from);
}

struct scale {
	double factor;
	const char *name;
};

/* Up to three figures, without trailing zeroes. */
static void print_scaled(double value, const char *name, char *out, size_t size_bytes)
{
	(void)snprintf(out, size_bytes, "%.3g%s", value, name);
}

void axis_number(double value, char *out, size_t size_bytes)
{
	static const struct scale scales[] = {{1e9, "G"}, {1e6, "M"}, {1e4, "k"}};
	double size = fabs(value);

	for (size_t i = 0; i < ARRAY_SIZE(scales); i++) {
		double factor = scales[i].factor >= 1e6 ? scales[i].factor : 1e3;

		if (size >= scales[i].factor * 0.9995) {
			print_scaled(value / factor, scales[i].name, out, size_bytes);
			return;
		}
	}
	(void)snprintf(out, size_bytes, size >= 1000 ? "%.0f" : "%.3g", value);
}

void axis_latency(double us, char *out, size_t size_bytes)
{
	if (us < 999.5) {
		print_scaled(us, " \xc2\xb5s", out, size_bytes);
	} else if (us < 999.5e3) {
		print_scaled(us / 1e3, " ms", out, size_bytes);
	} else {
		print_scaled(us / 1e6, " s", out, size_bytes);
	}
}
