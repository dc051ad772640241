#!/bin/sh
# Makes ./configure from configure.ac in a fresh clone.
set -e
cd "$(dirname "$0")"
exec autoreconf --install --force
