/*
 * rank 1: options, from options.def. Written once at start, before any
 * thread exists; read-only afterwards, except that kswapd_start clears
 * background_thread when there would be nothing for it to do, and that kswapd_set sets it.
 */
#ifndef BM_BASE_OPTIONS_H
#define BM_BASE_OPTIONS_H

#include "base/types.h"

#define OPTION_STR_MAX 256

/* In an OPTION_LIMIT: the other bits are a percentage. */
#define OPTION_PERCENT ((u64)1 << 63)

/* The words of each OPTION_ENUM, as option_NAME_WORD; in the order of its entry. */
enum { option_cgroup_auto, option_cgroup_off, option_cgroup_any };
enum { option_free_now, option_free_lazy };
enum { option_thp_auto, option_thp_always, option_thp_never };
enum { option_pressure_off, option_pressure_auto };

struct options {
#define OPTION_BOOL(name, def, doc) bool name;
#define OPTION_INT(name, def, least, most, unit, doc) long name;
#define OPTION_SIZE(name, def, least, most, doc) u64 name;
#define OPTION_LIMIT(name, def, least, most, doc) u64 name;
#define OPTION_STR(name, doc) char name[OPTION_STR_MAX];
#define OPTION_ENUM(name, def, words, doc) unsigned name;
#include "base/options.def"
};

extern struct options options HIDDEN;

/*
 * Applies "name:value,name:value"; empty entries do nothing. Every entry that
 * cannot be applied gives one line on stderr naming the option and what is
 * accepted, and is passed over: the option stays as it was. Returns the number
 * of such entries.
 */
cold_path unsigned options_parse(const char *conf);

#endif
