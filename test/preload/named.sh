#!/bin/sh
# named's tools are linked with jemalloc and call mallocx, rallocx and sdallocx beside malloc: the
# library has them all.
. "${srcdir:-.}/test/lib/preload.sh"
need named-compilezone

awk 'BEGIN {
	print "$TTL 60\n@ IN SOA ns.example. admin.example. 1 60 60 60 60\n@ IN NS ns\nns A 127.0.0.1"
	for (i = 0; i < 5000; i++) {
		printf "host%d A 10.%d.%d.1\n", i, i / 250, i % 250
		printf "host%d TXT \"%0*d\"\n", i, 1 + i % 200, i
		if (i % 3 == 0) printf "mail%d MX %d host%d\n", i, i % 50, i
		if (i % 100 == 0) for (k = 0; k < 50; k++) printf "many%d A 10.200.%d.%d\n", i, k, i / 100
	}
}' >zone

plain named-compilezone -o - example zone
preloaded named-compilezone -o - example zone
same
served named-compilezone
