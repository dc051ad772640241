#!/bin/sh
# tar and xz with threads, there and back.
. "${srcdir:-.}/test/lib/preload.sh"
need tar xz awk

mkdir tree
awk 'BEGIN {
	for (i = 0; i < 300; i++) {
		file = sprintf("tree/file-%03d", i)
		for (j = 0; j < 600; j++) print i * 7919 % 1000, j * 104729 % (i + 1), "text" > file
		close(file)
	}
}'
# Named as the first argument, so that both runs have the same command line otherwise.
cat >steps <<'END'
set -e
tar --sort=name --mtime=@1700000000 --owner=0 --group=0 --numeric-owner -cf $1.tar tree
xz -T4 --block-size=500KiB -6 -k $1.tar
xz -T2 -l $1.tar.xz | sed 1d | awk '{ print $1, $2, $NF == "'$1'.tar.xz" }'
cksum <$1.tar.xz
mkdir $1.back
xz -T4 -dc $1.tar.xz | tar -C $1.back -xf -
diff -r tree $1.back/tree
find $1.back -type f | wc -l
END

plain sh ./steps plain
preloaded sh ./steps preloaded
same
served tar
served xz
