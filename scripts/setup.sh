#!/usr/bin/env bash
# Installs what is needed and not found: Debian packages (as root) and npm
# packages. `setup.sh demo` does so for the demo, `setup.sh bench` for the
# measurements, without an argument for all tests.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
need() { # need PACKAGE TEST…: the package is missing when the test fails
  local package=$1; shift
  "$@" >/dev/null 2>&1 || packages+=("$package")
}
have_glob() { compgen -G "$1" >/dev/null; }

need postgresql have_glob '/usr/lib/postgresql/*/bin/postgres'
need postgresql-client command -v psql
need gcc command -v gcc
need libc6-dev test -e /usr/include/stdlib.h
need nodejs command -v node
need npm command -v npm
npm_in=(web)
if [ "${1:-}" != demo ]; then
  npm_in+=(e2e/node)
  need postgresql-contrib have_glob '/usr/share/postgresql/*/extension/dblink.control'
  need pgbouncer command -v pgbouncer
  need chromium command -v chromium
  need python3-psycopg2 /usr/bin/python3 -c 'import psycopg2'
  need libpostgresql-jdbc-java test -e /usr/share/java/postgresql.jar
  need default-jdk-headless command -v javac
  need openssh-server test -x /usr/sbin/sshd
  need openssh-client command -v ssh
  need rsync command -v rsync
  need ansible-core command -v ansible
fi

if [ "${1:-}" = bench ]; then
  need nginx-light command -v nginx
  need wrk command -v wrk
fi

if [ "${#packages[@]}" -gt 0 ]; then
  sudo=()
  if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null; then
    sudo=(sudo)
  elif [ "$(id -u)" -ne 0 ]; then
    echo "setup: these Debian packages are missing, and installing them needs root:" >&2
    echo "  sudo apt-get install -y --no-install-recommends ${packages[*]}" >&2
    exit 1
  fi
  echo "setup: installing ${packages[*]}"
  # The tests start servers of their own: the packages need not make one.
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    "${sudo[@]}" mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | "${sudo[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  if [[ " ${packages[*]} " == *" openssh-server "* ]]; then
    # Nor does this machine get a way in that it did not have.
    "${sudo[@]}" mkdir -p /etc/ssh
    echo 'installed for the tests of doorward, which start their own' | "${sudo[@]}" tee /etc/ssh/sshd_not_to_be_run >/dev/null
  fi
  "${sudo[@]}" apt-get update -q
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
fi

for dir in "${npm_in[@]}"; do
  if [ ! -e "$dir/node_modules/.package-lock.json" ] || [ "$dir/package-lock.json" -nt "$dir/node_modules/.package-lock.json" ]; then
    (cd "$dir" && npm ci --no-audit --no-fund)
    touch "$dir/node_modules/.package-lock.json"
  fi
done
echo "setup: everything is there"
