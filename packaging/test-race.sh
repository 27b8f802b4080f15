#!/bin/sh
# Runs `go test -race` with the arguments given, and once more what the race detector itself broke off.
#
# The detector's run-time library can end a test process with "ThreadSanitizer: CHECK failed": its own bookkeeping was wrong. No
# test has failed then, nor has one passed, so nothing is known of that package. Only such a package gets its second run, and
# only if no test failed, no race was found and nothing panicked in the first.
set -u
log=$(mktemp)
trap 'rm -f "$log"' EXIT
exec 4>&1
status=$({ { go test -race "$@" 2>&1; echo $? >&3; } | tee "$log" >&4; } 3>&1)
[ "$status" -ne 0 ] || exit 0
grep -q 'ThreadSanitizer: CHECK failed' "$log" || exit "$status"
if grep -q -e '--- FAIL:' -e '^WARNING: DATA RACE' -e '^panic:' -e '^fatal error:' -e '\[build failed\]' -e '\[setup failed\]' "$log"; then
	exit "$status"
fi
broken=$(sed -n 's/^FAIL[[:space:]]\{1,\}\([^[:space:]]\{1,\}\).*/\1/p' "$log")
[ -n "$broken" ] || exit "$status"
echo "the race detector itself broke off, no test had failed; once more:" $broken
flags=
for arg in "$@"; do
	case $arg in
	./*) ;;
	*) flags="$flags $arg" ;;
	esac
done
# shellcheck disable=SC2086
go test -race $flags $broken
