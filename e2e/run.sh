#!/usr/bin/env bash
# Tries websocket_auth with a real browser and with the clients of real
# protocols: builds cmd/caddy and runs the tests in e2e/test against it, each
# with Caddy, a token issuer and a legacy app on this machine. Two minutes.
#
# It needs Go, Node.js 20 or later with npm, Python 3, and Chromium, of which the
# program can be named by the variable CHROMIUM. As root on Debian it installs
# what is missing of nodejs, npm, python3 and chromium with apt-get. Elsewhere it says what to
# install. npm puts into e2e/node_modules, at the versions and checksums of
# package-lock.json, playwright-core, which drives the browser and downloads
# none, ws, on which the legacy apps are built, and the clients and servers of
# the protocols that websocket_auth has dialects for.
#
# Arguments are test files, such as test/demo.test.js; without any, all run. A
# skipped test is a failure. e2e/results holds pictures of the demonstration.
set -euo pipefail
cd "$(dirname "$0")"

# find_browser prints the path of the browser.
find_browser() {
	local name
	for name in ${CHROMIUM:-chromium chromium-browser google-chrome}; do
		if command -v "$name"; then
			return
		fi
	done
	return 1
}

packages=()
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)
command -v python3 >/dev/null || packages+=(python3)
find_browser >/dev/null || packages+=(chromium)
if [ "${#packages[@]}" -gt 0 ]; then
	if [ "$(id -u)" -ne 0 ] || [ ! -e /etc/debian_version ] || [ -n "${CHROMIUM:-}" ]; then
		echo "e2e: please install: ${packages[*]}; CHROMIUM may name a Chromium that is not on the PATH" >&2
		exit 1
	fi
	echo "e2e: installing ${packages[*]} with apt-get"
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
fi
if [ "$(node -p 'parseInt(process.versions.node)')" -lt 20 ]; then
	echo "e2e: Node.js 20 or later is needed; this is $(node --version)" >&2
	exit 1
fi
CHROMIUM="$(find_browser)"

build="$(mktemp -d)"
trap 'rm -rf "$build"' EXIT
CADDY="$build/caddy"
export CADDY CHROMIUM

echo 'e2e: npm ci'
npm ci --loglevel=error
echo 'e2e: building cmd/caddy'
(cd .. && go build -o "$CADDY" ./cmd/caddy)

if [ "$#" -eq 0 ]; then
	set -- test/*.test.js
fi
echo "e2e: running $# files of tests in $CHROMIUM"
node lib/tries.js "$@"
