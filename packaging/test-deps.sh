#!/bin/sh
# Installs, through apt, the programs that the tests start and that are missing here. An argument adds what some need beside:
# "qemu-user" runs the programs of other processors, "node" is what cloudbridge is measured beside.
set -eu
missing=
command -v gcc >/dev/null 2>&1 || missing="$missing gcc"
[ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"
command -v mosquitto >/dev/null 2>&1 || [ -x /usr/sbin/mosquitto ] || missing="$missing mosquitto"
command -v mosquitto_pub >/dev/null 2>&1 || missing="$missing mosquitto-clients"
case "${1:-}" in
qemu-user)
	command -v qemu-aarch64 >/dev/null 2>&1 && command -v qemu-arm >/dev/null 2>&1 || missing="$missing qemu-user"
	;;
node)
	command -v node >/dev/null 2>&1 || command -v nodejs >/dev/null 2>&1 || missing="$missing nodejs"
	command -v npm >/dev/null 2>&1 || missing="$missing npm"
	;;
esac
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
	echo "these programs are needed and apt-get is not here to install them:$missing" >&2
	exit 1
fi
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# A broker that apt starts by itself would take port 1883: tests and the benchmark start their own on free ports.
# shellcheck disable=SC2086
$sudo env RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing
