/*
 * rank 7: jemalloc's mallctl, see <buddymalloc/jemalloc.h>: what can be read, set or done by a
 * name. The names are in mallctl.def, what stands behind them in ctl.c.
 *
 * As a row of numbers (a "mib") a name is its place in the table, then for each further part 0,
 * or the number that stands there.
 */
#include <buddymalloc/jemalloc.h>
#include <errno.h>
#include <string.h>
#include <sys/types.h>

#include "base/report.h"
#include "malloc/ctl.h"
#include "malloc/internal.h"

/* A value as the caller has it. */
union ctl_value {
	bool as_bool;
	unsigned as_unsigned;
	u32 as_u32;
	size_t as_size;
	ssize_t as_ssize;
	u64 as_u64;
	const char *as_string;
};

static const u8 ctl_size[] = {
	[CTL_VOID] = 0,
	[CTL_BOOL] = sizeof(bool),
	[CTL_UNSIGNED] = sizeof(unsigned),
	[CTL_U32] = sizeof(u32),
	[CTL_SIZE] = sizeof(size_t),
	[CTL_SSIZE] = sizeof(ssize_t),
	[CTL_U64] = sizeof(u64),
	[CTL_STRING] = sizeof(char *),
};

static union ctl_value to_caller(enum ctl_type type, u64 value)
{
	union ctl_value v = { .as_u64 = 0 };

	switch (type) {
	case CTL_BOOL:
		v.as_bool = value;
		break;
	case CTL_UNSIGNED:
	case CTL_U32:
		v.as_u32 = (u32)value;
		break;
	default: /* 64 bits, all of them */
		v.as_u64 = value;
	}
	return v;
}

static u64 from_caller(enum ctl_type type, const void *p)
{
	union ctl_value v;

	memcpy(&v, p, ctl_size[type]);
	switch (type) {
	case CTL_BOOL:
		return v.as_bool;
	case CTL_UNSIGNED:
	case CTL_U32:
		return v.as_u32;
	default:
		return v.as_u64;
	}
}
static_assert(sizeof(unsigned) == sizeof(u32) && sizeof(union ctl_value) == sizeof(u64),
	      "values are of 32 or 64 bits");

/* To *oldp: as much as fits, and EINVAL, when the sizes differ. */
static int read_value(const struct ctl *ctl, const size_t *index, void *oldp, size_t *oldlenp)
{
	size_t size = ctl_size[ctl->type], given = *oldlenp;
	union ctl_value v;
	u64 value = 0;
	int error = ctl_read(ctl, index, &value);

	if (error)
		return error;
	v = to_caller(ctl->type, value);
	memcpy(oldp, &v, MIN(given, size));
	*oldlenp = MIN(given, size);
	return given == size ? 0 : EINVAL;
}

static int use(const struct ctl *ctl, const size_t *index, void *oldp, size_t *oldlenp, void *newp,
	       size_t newlen)
{
	bool reads = oldp && oldlenp, sets = newp;
	int error;

	ensure_up();
	if (ctl->type == CTL_VOID)
		return oldp || oldlenp || newp || newlen ? EPERM : ctl_set(ctl, index, 0);
	if ((reads && !ctl->reads) || (sets && !ctl->sets))
		return EPERM;
	if (sets && newlen != ctl_size[ctl->type])
		return EINVAL;
	error = reads ? read_value(ctl, index, oldp, oldlenp) : 0;
	if (error || !sets)
		return error;
	return ctl_set(ctl, index, from_caller(ctl->type, newp));
}

/* Reads a number and steps over it; false: there is none, or a large one. */
static bool take_number(const char **text, size_t *number)
{
	const char *p = *text;

	for (*number = 0; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(*number, 10, number) ||
		    __builtin_add_overflow(*number, (size_t)(*p - '0'), number))
			return false;
	if (p == *text)
		return false;
	*text = p;
	return true;
}

static bool matches(const char *pattern, const char *name, size_t *index)
{
	for (; *pattern; pattern++) {
		if (*pattern == '*' ? !take_number(&name, index++) : *pattern != *name++)
			return false;
	}
	return !*name;
}

static const struct ctl *find(const char *name, size_t *index)
{
	size_t i;

	for (i = 0; i < nr_ctls; i++)
		if (matches(ctls[i].name, name, index))
			return &ctls[i];
	return NULL;
}

BM_EXPORT int mallctl(const char *name, void *oldp, size_t *oldlenp, void *newp, size_t newlen)
{
	size_t index[CTL_NUMBERS] = { 0 };
	const struct ctl *ctl = find(name, index);

	return ctl ? use(ctl, index, oldp, oldlenp, newp, newlen) : ENOENT;
}

/* The part of the name behind this one; NULL: it is the last. */
static const char *next_part(const char *part)
{
	const char *dot = strchr(part, '.');

	return dot ? dot + 1 : NULL;
}

BM_EXPORT int mallctlnametomib(const char *name, size_t *mib, size_t *miblenp)
{
	size_t index[CTL_NUMBERS] = { 0 }, room = *miblenp, nr = 0, numbers = 0;
	const struct ctl *ctl = find(name, index);
	const char *part;

	if (!ctl)
		return ENOENT;
	for (part = ctl->name; part && nr < room; part = next_part(part))
		mib[nr++] = *part == '*' ? index[numbers++] : 0;
	if (nr)
		mib[0] = (size_t)(ctl - ctls);
	*miblenp = nr;
	return 0;
}

BM_EXPORT int mallctlbymib(const size_t *mib, size_t miblen, void *oldp, size_t *oldlenp,
			   void *newp, size_t newlen)
{
	size_t index[CTL_NUMBERS] = { 0 }, nr = 0, numbers = 0;
	const char *part;

	if (!miblen || mib[0] >= nr_ctls)
		return ENOENT;
	for (part = ctls[mib[0]].name; part && nr < miblen; part = next_part(part), nr++)
		if (*part == '*')
			index[numbers++] = mib[nr];
	if (part || nr != miblen)
		return ENOENT;
	return use(&ctls[mib[0]], index, oldp, oldlenp, newp, newlen);
}

BM_EXPORT void malloc_stats_print(void (*write)(void *opaque, const char *line), void *opaque,
				  const char *parts)
{
	(void)parts;
	report_statistics(&(struct report_sink){ .write = write, .opaque = opaque, .fd = 2 });
}
