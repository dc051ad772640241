#!/bin/sh
# The model under settings that take other paths through the library.
: "${BM_BUILDDIR:?}"
seed=${BM_SEED:-$(date +%s)}
status=0
for conf in free:lazy,decay_ms:0 free:lazy,decay_ms:5 hardened:true decay_ms:0 decay_ms:-1 hardened:true,decay_ms:0 thp:always thp:always,decay_ms:5; do
	echo "BUDDYMALLOC_CONF=$conf"
	said=$(BUDDYMALLOC_CONF=$conf "$BM_BUILDDIR/test/model/model" -n 80000 "$seed" 2>&1) || status=1
	printf '%s\n' "$said"
	# The library complains of a setting it does not take.
	case $said in *buddymalloc:*) status=1 ;; esac
done
exit $status
