#!/bin/sh
# The layers of src/: a file includes files of its own rank and below only, and
# only src/os makes system calls. The command includes nothing of the library
# but the tables of src/base. The checks are first tried on trees that break
# each rule once, so that they cannot be satisfied by finding nothing.
set -u

# check_includes TREE: says what is wrong; fails if anything is.
check_includes() {
	(cd "$1" && find . -name '*.[ch]' -o -name '*.def') | sed 's|^\./||' | sort >"$copy/files"
	(cd "$1" && xargs awk '
		BEGIN {
			n = split("os base memmap buddy page_alloc slab tcache malloc", dirs, " ")
			for (i = 1; i <= n; i++)
				rank[dirs[i]] = i - 1
		}
		NR == FNR { known[$1]; next }
		function bad(what) {
			print FILENAME ": \"" included "\" " what
			wrong = 1
		}
		/^[ \t]*#[ \t]*include[ \t]*"/ {
			included = $0
			sub(/^[^"]*"/, "", included)
			sub(/".*/, "", included)
			from = FILENAME
			sub(/\/.*/, "", from)
			to = included
			sub(/\/.*/, "", to)
			if (from == "command") {
				if (included != "config.h" && included !~ /^base\/[a-z_]*\.def$/)
					bad("is not for the command")
			} else if (!(included in known)) {
				bad("is no file of src/, by its path there")
			} else if (!(from in rank) || !(to in rank)) {
				bad("is in, or for, a folder without a rank")
			} else if (rank[to] > rank[from]) {
				bad("is of rank " rank[to] ", above rank " rank[from])
			} else {
				good++
			}
		}
		END {
			if (!good) {
				print "no includes found"
				wrong = 1
			}
			exit wrong
		}' "$copy/files" <"$copy/files")
}

# What asks the system for memory, files, time, processes. Handlers of fork, the
# formatting of libc and the environment do not.
calls='syscall mmap mmap64 munmap mremap madvise mprotect mlock mlock2 munlock mbind brk sbrk
posix_madvise process_madvise open open64 openat openat64 creat read write pread pwrite readv
writev close ioctl fcntl fcntl64 getpid gettid fork vfork clone execve kill raise abort exit _exit
sysinfo sysconf getpagesize getrlimit getrlimit64 setrlimit prlimit getrusage getauxval
sched_getaffinity sched_getcpu sched_yield getcpu nanosleep usleep sleep clock_gettime gettimeofday
time getrandom random rand futex socket signal sigaction'
pattern=$(echo $calls | tr ' ' '|')

# check_calls TREE: no call of those, by their text, outside src/os and src/command.
check_calls() {
	(cd "$1" && find . -name '*.[ch]' ! -path './os/*' ! -path './command/*' |
		sed 's|^\./||' | sort | xargs awk -v calls="(^|[^A-Za-z0-9_.>])($pattern)[ \t]*[(]" '
		FNR == 1 { in_comment = 0 }
		{
			line = $0
			gsub(/"[^"]*"/, "", line)
			gsub(/\/\*[^*]*\*\//, "", line)
			if (in_comment) {
				if (!sub(/^.*\*\//, "", line))
					next
				in_comment = 0
			}
			if (sub(/\/\*.*/, "", line))
				in_comment = 1
			if (line ~ calls) {
				print FILENAME ":" FNR ": " $0
				wrong = 1
			}
		}
		END { exit wrong }')
}

# check_objects OBJECT...: none of them refers to one of those.
check_objects() {
	found=$(nm -u "$@" 2>/dev/null | awk '$1 == "U" { print $2 }' | sed 's/@.*//' |
		grep -xE "$pattern" | sort -u)
	[ -z "$found" ] || echo "refers to:" $found
	[ -z "$found" ]
}

failures=0
fail() {
	echo "FAIL: $*"
	failures=$((failures + 1))
}

# The source tree; make gives $srcdir.
src=${srcdir:-$(dirname "$0")/../..}/src
[ -d "$src/os" ] || { echo "no source tree at $src"; exit 99; }

copy=$(mktemp -d "${TMPDIR:-/tmp}/layers.XXXXXX") || exit 99
copy=$(cd "$copy" && pwd)
trap 'rm -rf "$copy"' EXIT
trap 'exit 99' HUP INT TERM
cp -R "$src" "$copy/src" && chmod -R u+w "$copy" || exit 99

check_includes "$copy/src" >"$copy/said" || fail "a copy of the tree: $(cat "$copy/said")"

# planted FILE LINE CHECK: the check must object to the line when FILE begins with it.
planted() {
	{ echo "$2"; cat "$src/$1"; } >"$copy/src/$1"
	if "$3" "$copy/src" >"$copy/said"; then
		fail "$3 does not object to '$2' in $1"
	elif ! grep -q "^$1:" "$copy/said" || [ "$(wc -l <"$copy/said")" != 1 ]; then
		fail "$3 objects to something else than '$2' in $1: $(cat "$copy/said")"
	fi
	cat "$src/$1" >"$copy/src/$1"
}

planted os/os_linux.c '#include "base/report.h"' check_includes
planted base/lock.h '#include "memmap/memmap.h"' check_includes
planted base/options.def '#include "slab/slab.h"' check_includes
planted memmap/memmap.c '#include "buddy/zone.h"' check_includes
planted buddy/buddy.c '#include "page_alloc/page_alloc.h"' check_includes
planted page_alloc/reclaim.c ' # include "slab/slab.h"' check_includes
planted slab/slab.c '#include "tcache/tcache.h"' check_includes
planted tcache/thread.c '#include "malloc/internal.h"' check_includes
planted malloc/malloc.c '#include "command/buddymalloc.c"' check_includes
planted malloc/malloc.c '#include "internal.h"' check_includes
planted slab/slab.c '#include "../os/os.h"' check_includes
planted command/buddymalloc.c '#include "base/options.h"' check_includes
planted command/buddymalloc.c '#include "os/os.h"' check_includes
planted buddy/buddy.c 'static void f(void) { madvise(0, 0, 0); }' check_calls
planted slab/slab.c 'static long f(void) { return syscall(1); }' check_calls
planted malloc/large.c '/* Why not */ void *p = mmap (0, 1, 2, 3, 4, 5);' check_calls

check_includes "$src" || fail "includes of $src"
check_calls "$src" || fail "system calls outside src/os"

# What the compiler made of it, where it has been built.
if [ -n "${BM_BUILDDIR-}" ] && command -v nm >/dev/null; then
	os=$(find "$BM_BUILDDIR/src/os" -name 'libbmparts_a-*.o' 2>/dev/null)
	others=$(find "$BM_BUILDDIR/src" -name 'libbmparts_a-*.o' ! -path '*/src/os/*' 2>/dev/null)
	if [ -n "$os" ] && [ -n "$others" ]; then
		check_objects $os >/dev/null && fail "no system call is found even in src/os"
		check_objects $others || fail "objects outside src/os make system calls"
	else
		echo "the static library is not built here; its objects are not looked at"
	fi
fi

[ $failures = 0 ]
