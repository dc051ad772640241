/* rank 1: formatting and writing of messages; see report.h. */
#include "base/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/options.h"
#include "os/os.h"

static const struct report_sink to_stderr = { .fd = 2 };

static void vreport_to(const struct report_sink *to, const char *fmt, va_list ap)
{
	static const char prefix[] = "buddymalloc: ";
	char line[REPORT_LINE + 1];
	size_t len = sizeof(prefix) - 1, i = len;
	int saved = errno;
	int n;

	__builtin_memcpy(line, prefix, len);
	/* Integers, pointers and strings only: glibc formats those in place. */
	n = vsnprintf(line + len, REPORT_LINE - len - 1, fmt, ap);
	if (n > 0)
		len += MIN((size_t)n, REPORT_LINE - len - 2);
	/* A path or an option's value may have any bytes: the message stays one line. */
	for (; i < len; i++)
		if ((unsigned char)line[i] < ' ')
			line[i] = '?';
	line[len++] = '\n';
	line[len] = '\0';
	if (to->write)
		to->write(to->opaque, line);
	else
		os_write(to->fd, line, len);
	errno = saved;
}

void report_to(const struct report_sink *to, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vreport_to(to, fmt, ap);
	va_end(ap);
}

void report(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vreport_to(&to_stderr, fmt, ap);
	va_end(ap);
}

void report_verbose(const char *fmt, ...)
{
	va_list ap;

	if (!options.verbose)
		return;
	va_start(ap, fmt);
	vreport_to(&to_stderr, fmt, ap);
	va_end(ap);
}

void report_corruption(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vreport_to(&to_stderr, fmt, ap);
	va_end(ap);
	if (options.abort_on_corruption)
		os_abort();
}

void report_fatal(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vreport_to(&to_stderr, fmt, ap);
	va_end(ap);
	os_abort();
}
