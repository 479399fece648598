#!/bin/sh
# Compile the endpoint plugin: build.sh OUT_JAR MODEL_SERVER_JAR
#
# The same sources give the same bytes (sorted entries, fixed times). The jar carries the checksum
# of its sources, by which a test tells whether the one in src/dogbreeds/serving/ is stale.
# Needs a JDK of 17 or later.
set -eu
[ $# -eq 2 ] || { echo "usage: $0 OUT_JAR MODEL_SERVER_JAR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
classes=$(mktemp -d)
trap 'rm -rf "$classes"' EXIT
# Java 8 is what MMS itself is compiled for.
javac --release 8 -Xlint:all,-options,-processing,-classfile -Werror -proc:none -g:none \
    -cp "$2" -d "$classes" $(find "$here/src" -name "*.java" | LC_ALL=C sort)
cp -R "$here"/resources/. "$classes"
(cd "$here" && find src resources -type f | LC_ALL=C sort | xargs cat | sha256sum | cut -c1-64) \
    >"$classes/META-INF/sources.sha256"
(cd "$classes" && find . -type f | sed 's|^\./||' | LC_ALL=C sort |
    xargs jar --create --no-manifest --date=2020-01-01T00:00:00Z --file "$out.partial")
mv "$out.partial" "$out"
