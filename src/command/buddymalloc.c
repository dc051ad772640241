/*
 * buddymalloc: runs a program under the preloaded library.
 *
 * Two variables of the environment are set (LD_PRELOAD, BUDDYMALLOC_CONF), then the
 * program takes this process's place: its exit status, its signals and its terminal
 * are its own. The command links nothing of the library, so that a broken build of
 * the library can never keep the command from saying so.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "config.h"

#include <elf.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The name that programs are linked with; the one without a number is there to build them. */
#define LIBRARY "libbuddymalloc.so.0"

/* As env(1), nohup(1) and the shells have it. */
enum {
	STATUS_OWN_ERROR = 125,		/* bad usage, no library */
	STATUS_NOT_RUNNABLE = 126,	/* the program is there, but cannot be run */
	STATUS_NOT_FOUND = 127,		/* there is no such program */
};

enum kind { BOOL, INT, SIZE, LIMIT, STR, ENUM };

static const struct option_info {
	const char *name;
	enum kind kind;
	long long by_default, least, most;
	const char *unit;			/* of an INT; "": it has none */
	const char *words, *default_word;	/* of an ENUM */
	const char *what;
} options[] = {
#define OPTION_BOOL(name, by_default, what) \
	{ #name, BOOL, by_default, 0, 1, NULL, NULL, NULL, what },
#define OPTION_INT(name, by_default, least, most, unit, what) \
	{ #name, INT, by_default, least, most, unit, NULL, NULL, what },
#define OPTION_SIZE(name, by_default, least, most, what) \
	{ #name, SIZE, by_default, least, most, NULL, NULL, NULL, what },
#define OPTION_LIMIT(name, by_default, least, most, what) \
	{ #name, LIMIT, by_default, least, most, NULL, NULL, NULL, what },
#define OPTION_STR(name, what) { #name, STR, 0, 0, 0, NULL, NULL, NULL, what },
#define OPTION_ENUM(name, by_default, words, what) \
	{ #name, ENUM, 0, 0, 0, NULL, words, #by_default, what },
#include "base/options.def"
};

#define NR_OPTIONS (sizeof(options) / sizeof(options[0]))

__attribute__((format(printf, 2, 3), noreturn))
static void die(int status, const char *format, ...)
{
	va_list args;

	fputs("buddymalloc: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(status);
}

__attribute__((format(printf, 1, 2)))
static char *format_string(const char *format, ...)
{
	va_list args;
	char *string;
	int len;

	va_start(args, format);
	len = vasprintf(&string, format, args);
	va_end(args);
	if (len < 0)
		die(STATUS_OWN_ERROR, "out of memory");
	return string;
}

static void set_environment(const char *name, const char *value)
{
	if (setenv(name, value, 1))
		die(STATUS_OWN_ERROR, "cannot set %s: %s", name, strerror(errno));
}

/* Prints text indented, broken at blanks so that lines stay within 78 columns. */
static void print_wrapped(int indent, const char *text)
{
	int column = 0;

	while (*text) {
		int len = (int)strcspn(text, " ");

		if (column && column + 1 + len > 78) {
			putchar('\n');
			column = 0;
		}
		if (column)
			column += printf(" %.*s", len, text);
		else
			column = printf("%*s%.*s", indent, "", len, text);
		text += len;
		text += strspn(text, " ");
	}
	putchar('\n');
}

static void print_size(long long bytes)
{
	static const char units[] = "KMGT";
	int unit = -1;

	while (unit + 1 < (int)strlen(units) && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	printf("%lld", bytes);
	if (unit >= 0)
		putchar(units[unit]);
}

static void print_option(const struct option_info *option)
{
	printf("  %s:", option->name);
	switch (option->kind) {
	case BOOL:
		printf("true|false (default %s)\n", option->by_default ? "true" : "false");
		break;
	case INT:
		printf("NUMBER, %lld to %lld%s%s (default %lld)\n", option->least, option->most,
		       *option->unit ? " " : "", option->unit, option->by_default);
		break;
	case SIZE:
	case LIMIT:
		printf(option->kind == LIMIT ? "BYTES, 0 or " : "BYTES, ");
		print_size(option->least);
		printf(" to ");
		print_size(option->most);
		if (option->kind == LIMIT)
			printf(", or 1%% to 100%%");
		printf(" (default ");
		print_size(option->by_default);
		printf(")\n");
		break;
	case STR:
		printf("TEXT (empty by default)\n");
		break;
	case ENUM:
		printf("%s (default %s)\n", option->words, option->default_word);
		break;
	}
	print_wrapped(8, option->what);
}

/* Output that did not reach its reader must not look like success. */
__attribute__((noreturn))
static void finish_output(void)
{
	if (fflush(stdout) || ferror(stdout))
		die(STATUS_OWN_ERROR, "cannot write: %s", strerror(errno));
	exit(EXIT_SUCCESS);
}

__attribute__((noreturn))
static void print_help(void)
{
	printf("Usage: buddymalloc [-o CONF] [--stats] PROGRAM [ARG...]\n"
	       "Run PROGRAM with libbuddymalloc as its malloc.\n"
	       "\n"
	       "  -o CONF    set options: NAME:VALUE, several joined with commas; may be\n"
	       "             repeated; added to those of the environment's BUDDYMALLOC_CONF\n"
	       "  --stats    the same as -o stats_print:true\n"
	       "  --help     print this text\n"
	       "  --version  print the version\n"
	       "\n"
	       "Options of CONF. For true also yes, on or 1 is taken, for false no, off or 0.\n"
	       "BYTES may end in K, M, G or T, in either case.\n");
	for (size_t i = 0; i < NR_OPTIONS; i++)
		print_option(&options[i]);
	printf("\n"
	       "The exit status is PROGRAM's; 127 if there is no such program, 126 if it\n"
	       "cannot be run, 125 if buddymalloc itself fails. See buddymalloc(1).\n");
	finish_output();
}

__attribute__((noreturn))
static void print_version(void)
{
	printf("buddymalloc (libbuddymalloc) %s\n", PACKAGE_VERSION);
	finish_output();
}

static bool option_exists(const char *name, size_t len)
{
	for (size_t i = 0; i < NR_OPTIONS; i++)
		if (strlen(options[i].name) == len && !memcmp(options[i].name, name, len))
			return true;
	return false;
}

static char *option_names(void)
{
	char *names = format_string("%s", options[0].name);

	for (size_t i = 1; i < NR_OPTIONS; i++) {
		char *longer = format_string("%s %s", names, options[i].name);

		free(names);
		names = longer;
	}
	return names;
}

/* One item of conf, which is not empty. */
static void check_item(const char *conf, const char *item, size_t len)
{
	size_t name_len = strcspn(item, ":=,");
	char *name = format_string("%.*s", (int)name_len, item);

	if (!option_exists(item, name_len))
		die(STATUS_OWN_ERROR, "-o '%s': " OPTION_UNKNOWN, conf, (int)name_len, name,
		    option_names());
	if (name_len == len)
		die(STATUS_OWN_ERROR, "-o '%s': " OPTION_NO_VALUE, conf, name, name);
	if (item[name_len] == '=')
		die(STATUS_OWN_ERROR, "-o '%s': " OPTION_NO_COLON, conf, name, name,
		    (int)(len - name_len - 1), item + name_len + 1);
	free(name);
}

/*
 * The form and the names are checked here, where a slip can still stop the run.
 * Values are left to the library, which has the only parser of them.
 */
static void check_conf(const char *conf)
{
	const char *item = conf;

	for (;;) {
		size_t len = strcspn(item, ",");

		if (len)
			check_item(conf, item, len);
		if (!item[len])
			return;
		item += len + 1;
	}
}

static void add_conf(const char *conf)
{
	const char *old = getenv("BUDDYMALLOC_CONF");
	char *joined;

	if (old && *old)
		joined = format_string("%s,%s", old, conf);
	else
		joined = format_string("%s", conf);
	set_environment("BUDDYMALLOC_CONF", joined);
	free(joined);
}

/* The folder this command was started from, or NULL where /proc does not tell. */
static char *own_folder(void)
{
	static char path[4096];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash;

	if (len <= 0)
		return NULL;
	path[len] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return NULL;
	*slash = '\0';
	return path;
}

/*
 * LIBDIR as seen from the running file's own folder. BINDIR and LIBDIR share their
 * first directories; what follows must be the end of the folder, and is exchanged.
 * So an installation that was staged with DESTDIR, or moved, finds its own library.
 */
static char *libdir_beside(const char *folder)
{
	size_t common = 0, folder_len = strlen(folder), bin_len;

	for (size_t i = 0; BINDIR[i] && BINDIR[i] == LIBDIR[i]; i++)
		if (BINDIR[i] == '/')
			common = i;
	bin_len = strlen(BINDIR) - common;
	if (folder_len < bin_len ||
	    memcmp(folder + folder_len - bin_len, &BINDIR[common], bin_len))
		return NULL;
	return format_string("%.*s%s", (int)(folder_len - bin_len), folder,
			     &LIBDIR[common]);
}

/* Where the library was looked for in vain: "A, B". */
static char *searched;

static char *library_in(const char *directory)
{
	char *path = format_string("%s/" LIBRARY, directory);

	if (!access(path, R_OK))
		return path;
	free(path);
	searched = searched ? format_string("%s, %s", searched, directory) :
			      format_string("%s", directory);
	return NULL;
}

/* ld.so would complain of anything else, in every process, and run the program without. */
static bool is_elf(const char *path)
{
	char magic[SELFMAG];
	struct stat status;
	FILE *file;
	bool yes;

	/* Opening another kind of file may wait for its other end. */
	if (stat(path, &status) || !S_ISREG(status.st_mode))
		return false;
	file = fopen(path, "re");
	if (!file)
		return false;
	yes = fread(magic, SELFMAG, 1, file) == 1 && !memcmp(magic, ELFMAG, SELFMAG);
	fclose(file);
	return yes;
}

/* The library that the user names; an absolute path. */
static char *given_library(const char *given)
{
	char *path, *directory;

	if (access(given, R_OK))
		die(STATUS_OWN_ERROR, "library '%s' of BUDDYMALLOC_LIB: %s", given,
		    strerror(errno));
	if (!is_elf(given))
		die(STATUS_OWN_ERROR, "'%s' of BUDDYMALLOC_LIB is no library: not an ELF file",
		    given);
	if (given[0] == '/')
		return format_string("%s", given);
	/* The program may change its directory before it starts others. */
	directory = getcwd(NULL, 0);
	if (!directory)
		die(STATUS_OWN_ERROR, "cannot tell the current directory: %s", strerror(errno));
	path = format_string("%s/%s", directory, given);
	free(directory);
	return path;
}

/* The library that the command was built or installed with. */
static char *find_library(void)
{
	char *path = NULL, *folder = own_folder(), *directory;

	if (folder) {
		/* Not installed: libtool leaves the library here in the build tree. */
		directory = format_string("%s/.libs", folder);
		path = library_in(directory);
		free(directory);
	}
	directory = folder ? libdir_beside(folder) : NULL;
	if (!path && directory)
		path = library_in(directory);
	if (!path && !(directory && !strcmp(directory, LIBDIR)))
		path = library_in(LIBDIR);
	free(directory);
	if (!path)
		die(STATUS_OWN_ERROR, "no %s in %s; set BUDDYMALLOC_LIB to its path", LIBRARY,
		    searched);
	return path;
}

static void preload(const char *library)
{
	const char *old = getenv("LD_PRELOAD");
	size_t len = strlen(library);
	char *joined;

	/* ld.so splits LD_PRELOAD at both, and knows no way to quote them. */
	if (strpbrk(library, " :"))
		die(STATUS_OWN_ERROR, "'%s' has a blank or a colon in it: it cannot be preloaded",
		    library);
	if (!old || !*old) {
		set_environment("LD_PRELOAD", library);
		return;
	}
	/* Started by a buddymalloc: it is there already. */
	if (!strncmp(old, library, len) && (!old[len] || strchr(" :", old[len])))
		return;
	joined = format_string("%s:%s", library, old);
	set_environment("LD_PRELOAD", joined);
	free(joined);
}

__attribute__((noreturn))
static void run(char **argv)
{
	int error;

	execvp(argv[0], argv);
	error = errno;
	if (error != ENOENT)
		die(STATUS_NOT_RUNNABLE, "cannot run '%s': %s", argv[0], strerror(error));
	if (!strchr(argv[0], '/'))
		die(STATUS_NOT_FOUND, "no program '%s' in PATH", argv[0]);
	if (!access(argv[0], F_OK))
		die(STATUS_NOT_RUNNABLE, "cannot run '%s': its interpreter does not exist",
		    argv[0]);
	die(STATUS_NOT_FOUND, "no program '%s'", argv[0]);
}

__attribute__((noreturn))
static void refuse_option(int shape, char **argv)
{
	if (shape == ':')
		die(STATUS_OWN_ERROR, "-o needs a CONF; see buddymalloc --help");
	/*
	 * 0: a long one that is not known; beyond a character: one that takes no
	 * argument, or is not written in full.
	 */
	if (!optopt || optopt > 255)
		die(STATUS_OWN_ERROR, "bad option '%s'; see buddymalloc --help",
		    argv[optind - 1]);
	die(STATUS_OWN_ERROR, "bad option '-%c'; see buddymalloc --help", optopt);
}

int main(int argc, char **argv)
{
	enum { STATS = 256, HELP, VERSION };
	static const struct option long_options[] = {
		{ "stats", no_argument, NULL, STATS },
		{ "help", no_argument, NULL, HELP },
		{ "version", no_argument, NULL, VERSION },
		{ 0 }
	};
	const char *given = getenv("BUDDYMALLOC_LIB");
	int option, which;

	/* "+": what follows PROGRAM is the program's. ":": the complaints are ours. */
	while ((option = getopt_long(argc, argv, "+:o:", long_options, &which)) != -1) {
		/* Scripts with abbreviations would break by the next long option. */
		if (option >= STATS && strcmp(argv[optind - 1] + 2, long_options[which].name)) {
			optopt = option;
			option = '?';
		}
		switch (option) {
		case 'o':
			check_conf(optarg);
			add_conf(optarg);
			break;
		case STATS:
			add_conf("stats_print:true");
			break;
		case HELP:
			print_help();
		case VERSION:
			print_version();
		default:
			refuse_option(option, argv);
		}
	}
	if (optind == argc)
		die(STATUS_OWN_ERROR, "no PROGRAM to run; see buddymalloc --help");
	preload(given && *given ? given_library(given) : find_library());
	run(argv + optind);
}
